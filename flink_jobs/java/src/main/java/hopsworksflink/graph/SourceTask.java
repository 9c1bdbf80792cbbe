package hopsworksflink.graph;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.List;
import org.apache.flink.runtime.execution.Environment;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.apache.flink.streaming.api.graph.StreamNode;
import org.apache.flink.streaming.runtime.tasks.SourceOperatorStreamTask;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;

/**
 * The task of a source that ends event time also while it is idle. Flink's forgets to become active before: outputs that
 * are idle drop the last watermark, and a job that is drained after a silence keeps its open windows for itself
 * (FLINK-40499).
 */
public final class SourceTask<T> extends SourceOperatorStreamTask<T> {
    /** For Flink, which makes it by its name. */
    public SourceTask(Environment environment) throws Exception {
        super(environment);
    }

    @Override
    protected void advanceToEndOfEventTime() {
        if (!operatorChain.isTaskDeployedAsFinished()) {
            operatorChain.getMainOperatorOutput().emitWatermarkStatus(WatermarkStatus.ACTIVE);
        }
        super.advanceToEndOfEventTime();
    }

    /**
     * Gives the sources of a graph this task.
     *
     * @param jars URLs of those that the job brings to the TaskManagers. Where this class is in none of them, as in a
     *     program of somebody else, the graph stays as it is.
     */
    static void useIn(StreamGraph graph, List<String> jars) {
        if (!isIn(jars)) {
            return;
        }
        try {
            Field task = StreamNode.class.getDeclaredField("jobVertexClass");
            task.setAccessible(true);
            for (StreamNode node : graph.getStreamNodes()) {
                if (node.getJobVertexClass() == SourceOperatorStreamTask.class) {
                    task.set(node, SourceTask.class);
                }
            }
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException("This Flink's graphs are others: the package is tested with 2.3.", error);
        }
    }

    private static boolean isIn(List<String> jars) {
        URL[] urls = new URL[jars.size()];
        try {
            for (int index = 0; index < urls.length; index++) {
                urls[index] = new URL(jars.get(index));
            }
            try (URLClassLoader brought = new URLClassLoader(urls, null)) {
                return brought.findResource(SourceTask.class.getName().replace('.', '/') + ".class") != null;
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
