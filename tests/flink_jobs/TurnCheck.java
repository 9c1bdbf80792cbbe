import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Takes turns as submissions do: each with classes of its own. Argument: the jar with the launcher. */
public final class TurnCheck {
    private static URL jar;

    public static void main(String[] arguments) throws Exception {
        jar = Path.of(arguments[0]).toUri().toURL();
        AutoCloseable first = take("first", 1);
        CompletableFuture<AutoCloseable> second = CompletableFuture.supplyAsync(() -> takeNow("second", 30_000));
        while (System.getProperty("hopsworksflink.submit.next") == null) {
            Thread.sleep(1);
        }
        expect(busy("third", 30_000), "BusyException: being started: first since .*; next: second");
        expect(String.valueOf(second.isDone()), "false");
        first.close();
        AutoCloseable next = second.get(10, TimeUnit.SECONDS);
        expect(busy("fourth", 50), "BusyException: being started: second since .*Z");
        next.close();
        take("fifth", 1).close();
        expect(String.valueOf(System.getProperty("hopsworksflink.submit.turn")), "null");
        System.out.println("done");
    }

    private static AutoCloseable take(String who, long milliseconds) throws Exception {
        ClassLoader own = new URLClassLoader(new URL[] {jar}, ClassLoader.getPlatformClassLoader());
        Method take = own.loadClass("hopsworksflink.submit.Turn").getDeclaredMethod("take", String.class, Duration.class);
        take.setAccessible(true);
        return (AutoCloseable) take.invoke(null, who, Duration.ofMillis(milliseconds));
    }

    private static AutoCloseable takeNow(String who, long milliseconds) {
        try {
            return take(who, milliseconds);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static String busy(String who, long milliseconds) throws Exception {
        try {
            return "taken by " + take(who, milliseconds);
        } catch (InvocationTargetException error) {
            return error.getCause().toString();
        }
    }

    private static void expect(String found, String pattern) {
        if (!found.matches(".*" + pattern)) {
            throw new AssertionError(found + " is not " + pattern);
        }
    }
}
