package hopsworksflink.submit;

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.python.shaded.py4j.GatewayServer;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.python.PythonOptions;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.FileUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** One Python program as a process of the JobManager. What it prints goes to the JobManager's log. */
final class PythonProgram {
    private static final Logger LOG = LoggerFactory.getLogger(PythonLauncher.class);
    private static final String UTILITIES = "org.apache.flink.client.python.PythonEnvUtils";
    private static final long END_MILLISECONDS = 10_000;

    private PythonProgram() {}

    /** Run it to its end. Throws {@link IllegalStateException} if it ends with an error. */
    static void run(SubmissionContext context, String module, String files, String python, List<String> arguments)
            throws Exception {
        Configuration configuration = Configuration.fromMap(
                StreamExecutionEnvironment.getExecutionEnvironment().getConfiguration().toMap());
        configuration.set(PythonOptions.PYTHON_FILES, files);
        if (python != null) {
            configuration.set(PythonOptions.PYTHON_CLIENT_EXECUTABLE, python);
            configuration.set(PythonOptions.PYTHON_EXECUTABLE, python);
        }
        List<String> command = new ArrayList<>(List.of("-u", "-m", module));
        command.addAll(arguments);
        File folder = new File(System.getProperty("java.io.tmpdir"), "pyflink/" + UUID.randomUUID());
        BoundGateway gateway = new BoundGateway(context);
        gateway.start(true);
        Thread cleaning = null;
        try {
            // Java code that calls Python functions looks for the server there.
            call("setGatewayServer", new Class<?>[] {GatewayServer.class}, gateway);
            Class<?>[] types = {
                GatewayServer.class, ReadableConfig.class, List.class, String.class, String.class, boolean.class
            };
            Process process = (Process) call(
                    "launchPy4jPythonClient", types, gateway, configuration, command, null, folder.getPath(), true);
            cleaning = new Thread(() -> end(process));
            Runtime.getRuntime().addShutdownHook(cleaning);
            BufferedReader output =
                    new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
            for (String line = output.readLine(); line != null; line = output.readLine()) {
                LOG.info(line);
            }
            int code = process.waitFor();
            if (code != 0) {
                throw new IllegalStateException("Python process exits with code: " + code);
            }
        } finally {
            call("setGatewayServer", new Class<?>[] {GatewayServer.class}, (Object) null);
            if (cleaning != null && Runtime.getRuntime().removeShutdownHook(cleaning)) {
                cleaning.run();
            }
            gateway.shutdown();
            FileUtils.deleteDirectoryQuietly(folder);
        }
    }

    private static void end(Process process) {
        process.destroy();
        try {
            if (!process.waitFor(END_MILLISECONDS, TimeUnit.MILLISECONDS)) {
                process.destroyForcibly();
            }
        } catch (InterruptedException error) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }

    /** A static method of Flink's own preparations for Python, which are not public. */
    private static Object call(String name, Class<?>[] types, Object... values) throws Exception {
        Method method = Class.forName(UTILITIES).getDeclaredMethod(name, types);
        method.setAccessible(true);
        try {
            return method.invoke(null, values);
        } catch (InvocationTargetException error) {
            if (error.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw error;
        }
    }
}
