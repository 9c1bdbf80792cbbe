package hopsworksflink.graph;

import java.lang.reflect.Field;
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

    /** Gives the sources of a graph this task. */
    static void useIn(StreamGraph graph) {
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
}
