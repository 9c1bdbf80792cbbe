package hopsworksflink.submit;

import java.io.File;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.util.MutableURLClassLoader;

/**
 * Starts a Python program inside the JobManager, in place of Flink's {@code PythonDriver}, so that of several
 * submissions at the same time each gets its own job id, configuration and plan.
 *
 * <p>With {@code PythonDriver} they can be mixed up. {@code JarRunHandler} runs each submission on a thread of its own,
 * and {@code ClientUtils.executeProgram} keeps the submission's context (job id, configuration, executor) in
 * {@code StreamExecutionEnvironment} twice: in a {@code ThreadLocal} of that thread, and in the static field
 * {@code contextEnvironmentFactory}. The calls of a Python program arrive on threads that Py4J's {@code GatewayServer}
 * makes for each connection. These have no thread-local value, so they take what stands in the static field: the
 * context of whichever submission came last, or none at all once any submission has ended.
 *
 * <p>Therefore the program's gateway binds each of its threads to the program's own context ({@link BoundGateway},
 * {@link SubmissionContext}). The static field does not matter any more, whoever writes to it. Besides, programs take
 * turns ({@link Turn}): the statics of {@code PythonEnvUtils} are shared where flink-python lies in the cluster's
 * {@code lib/}, and the lines that programs print do not mingle in the JobManager's log.
 *
 * <p>Arguments: {@code --flink-python <jar> --job-id <id> --module <name> --files <zip> [--python <executable>]
 * [-- <the program's own>]}.
 */
public final class PythonLauncher {
    private static final String REST = "--";
    private static final Duration WAIT = Duration.ofSeconds(10);

    private PythonLauncher() {}

    /** Run the program to its end. Throws {@link BusyException} when others do not make way in time. */
    public static void main(String[] arguments) throws Exception {
        int rest = Arrays.asList(arguments).indexOf(REST);
        int end = rest < 0 ? arguments.length : rest;
        Map<String, String> options = options(Arrays.copyOf(arguments, end));
        List<String> own = rest < 0 ? List.of() : Arrays.asList(arguments).subList(rest + 1, arguments.length);
        File flinkPython = new File(required(options, "--flink-python"));
        SubmissionContext context = SubmissionContext.take(required(options, "--job-id"), flinkPython.toURI().toURL());
        // Flink adds this jar by itself for PythonDriver only.
        ((MutableURLClassLoader) Thread.currentThread().getContextClassLoader()).addURL(flinkPython.toURI().toURL());
        String module = required(options, "--module");
        try (Turn turn = Turn.take(module + " as job " + options.get("--job-id"), WAIT)) {
            PythonProgram.run(context, module, required(options, "--files"), options.get("--python"), own);
        }
    }

    private static Map<String, String> options(String[] words) {
        Map<String, String> options = new LinkedHashMap<>();
        for (int at = 0; at + 1 < words.length; at += 2) {
            options.put(words[at], words[at + 1]);
        }
        return options;
    }

    private static String required(Map<String, String> options, String name) {
        String value = options.get(name);
        if (value == null) {
            throw new IllegalArgumentException("The argument " + name + " is missing: " + options.keySet());
        }
        return value;
    }
}
