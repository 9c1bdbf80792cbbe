package hopsworksflink.graph;

import java.lang.reflect.Field;
import java.util.List;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.dag.Pipeline;
import org.apache.flink.api.dag.Transformation;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.JobStatusHook;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.apache.flink.table.api.internal.TableEnvironmentImpl;
import org.apache.flink.table.delegation.Executor;

/**
 * The executor of a table environment, for jobs whose operators Flink's pages show in words ({@link Words}), and whose
 * sources end event time when they are drained ({@link SourceTask}).
 *
 * <p>Between the planner, which makes operators, and the job graph Flink has no place for that but its own executor.
 */
public final class GraphExecutor implements Executor {
    private final Executor flinks;
    private final String database;

    private GraphExecutor(Executor flinks, String database) {
        this.flinks = flinks;
        this.database = database;
    }

    /** The executor that the environment has from now on. */
    public static Executor of(TableEnvironmentImpl tables) throws ReflectiveOperationException {
        Field field = TableEnvironmentImpl.class.getDeclaredField("execEnv");
        field.setAccessible(true);
        String database = tables.getCurrentCatalog() + "." + tables.getCurrentDatabase() + ".";
        Executor executor = new GraphExecutor((Executor) field.get(tables), database);
        field.set(tables, executor);
        return executor;
    }

    @Override
    public Pipeline createPipeline(
            List<Transformation<?>> transformations, ReadableConfig configuration, String defaultName) {
        return createPipeline(transformations, configuration, defaultName, List.of());
    }

    @Override
    public Pipeline createPipeline(
            List<Transformation<?>> transformations,
            ReadableConfig configuration,
            String defaultName,
            List<JobStatusHook> hooks) {
        new Words(database).tell(transformations);
        Pipeline pipeline = flinks.createPipeline(transformations, configuration, defaultName, hooks);
        if (pipeline instanceof StreamGraph graph) {
            SourceTask.useIn(graph, configuration.getOptional(PipelineOptions.JARS).orElse(List.of()));
        }
        return pipeline;
    }

    @Override
    public ReadableConfig getConfiguration() {
        return flinks.getConfiguration();
    }

    @Override
    public JobExecutionResult execute(Pipeline pipeline) throws Exception {
        return flinks.execute(pipeline);
    }

    @Override
    public JobClient executeAsync(Pipeline pipeline) throws Exception {
        return flinks.executeAsync(pipeline);
    }

    @Override
    public boolean isCheckpointingEnabled() {
        return flinks.isCheckpointingEnabled();
    }
}
