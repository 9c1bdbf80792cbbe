package hopsworksflink.submit;

import java.lang.reflect.Field;
import java.net.URL;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironmentFactory;

/**
 * What Flink keeps of one submission (job id, configuration, executor), to be given to each thread that works for it.
 *
 * <p>Jobs that are made in it carry the mark {@code submitted_as}, the job id, among their global job parameters: a
 * program that is not bound and gets hold of a foreign context cannot make a job that looks like it.
 */
final class SubmissionContext {
    private static final String MARK = "submitted_as";

    private final ThreadLocal<StreamExecutionEnvironmentFactory> ofThread;
    private final StreamExecutionEnvironmentFactory factory;

    private SubmissionContext(
            ThreadLocal<StreamExecutionEnvironmentFactory> ofThread, StreamExecutionEnvironmentFactory factory) {
        this.ofThread = ofThread;
        this.factory = factory;
    }

    /**
     * The context of the submission on whose thread this is called; it is bound to that thread, and to nothing else.
     *
     * @param flinkPython becomes one of the job's jars, as for {@code PythonDriver}.
     */
    @SuppressWarnings("unchecked")
    static SubmissionContext take(String jobId, URL flinkPython) throws ReflectiveOperationException {
        Field ofThread = accessible("threadLocalContextEnvironmentFactory");
        ThreadLocal<StreamExecutionEnvironmentFactory> threadLocal =
                (ThreadLocal<StreamExecutionEnvironmentFactory>) ofThread.get(null);
        StreamExecutionEnvironmentFactory flinks = threadLocal.get();
        if (flinks == null) {
            throw new IllegalStateException("This thread runs no submission: start it by POST /jars/<id>/run.");
        }
        // Whoever is not bound must not take it for its own.
        Field shared = accessible("contextEnvironmentFactory");
        if (shared.get(null) == flinks) {
            shared.set(null, null);
        }
        ReadableConfig own = flinks.createExecutionEnvironment(new Configuration()).getConfiguration();
        List<String> jars = new ArrayList<>(own.getOptional(PipelineOptions.JARS).orElse(List.of()));
        jars.add(flinkPython.toString());
        Map<String, String> parameters = own.getOptional(PipelineOptions.GLOBAL_JOB_PARAMETERS).orElse(Map.of());
        StreamExecutionEnvironmentFactory marked = asked -> {
            Map<String, String> marks = new HashMap<>(parameters);
            marks.putAll(asked.getOptional(PipelineOptions.GLOBAL_JOB_PARAMETERS).orElse(Map.of()));
            marks.put(MARK, jobId);
            Configuration configuration = new Configuration();
            configuration.set(PipelineOptions.JARS, jars);
            configuration.addAll(asked);
            configuration.set(PipelineOptions.GLOBAL_JOB_PARAMETERS, marks);
            return flinks.createExecutionEnvironment(configuration);
        };
        SubmissionContext context = new SubmissionContext(threadLocal, marked);
        context.bind();
        return context;
    }

    /** Make this the context of the calling thread. */
    void bind() {
        ofThread.set(factory);
    }

    private static Field accessible(String name) throws ReflectiveOperationException {
        try {
            Field field = StreamExecutionEnvironment.class.getDeclaredField(name);
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException error) {
            throw new IllegalStateException(
                    "This version of Flink keeps the context of a submission elsewhere than in the field " + name
                            + " of StreamExecutionEnvironment: programs cannot be kept apart, so none is started.",
                    error);
        }
    }
}
