package hopsworksflink.submit;

import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.TimeUnit;

/**
 * The right to run one Python program in this JVM; at most one submission has it.
 *
 * <p>Each submission loads this class anew, so a static lock would be one for each of them. Interned strings and system
 * properties exist once in a JVM.
 *
 * <p>One more submission waits here, for a while. A waiting one occupies a thread of Flink's REST API, of which there are
 * few: all others are sent away at once, and come again.
 */
final class Turn implements AutoCloseable {
    private static final String HOLDER = "hopsworksflink.submit.turn";
    private static final String NEXT = "hopsworksflink.submit.next";
    private static final Object MONITOR = HOLDER.intern();

    private Turn() {}

    /**
     * Get the turn, now or as the next one within a time limit. Throws {@link BusyException} if that is not to be.
     *
     * @param who words for those who wait.
     */
    static Turn take(String who, Duration limit) throws InterruptedException {
        synchronized (MONITOR) {
            if (System.getProperty(NEXT) != null) {
                throw new BusyException(
                        "being started: " + System.getProperty(HOLDER) + "; next: " + System.getProperty(NEXT));
            }
            System.setProperty(NEXT, who);
            try {
                long deadline = System.nanoTime() + limit.toNanos();
                while (System.getProperty(HOLDER) != null) {
                    long left = deadline - System.nanoTime();
                    if (left <= 0) {
                        throw new BusyException("being started: " + System.getProperty(HOLDER));
                    }
                    TimeUnit.NANOSECONDS.timedWait(MONITOR, left);
                }
            } finally {
                System.clearProperty(NEXT);
            }
            System.setProperty(HOLDER, who + " since " + Instant.now());
        }
        return new Turn();
    }

    @Override
    public void close() {
        synchronized (MONITOR) {
            System.clearProperty(HOLDER);
            MONITOR.notifyAll();
        }
    }
}
