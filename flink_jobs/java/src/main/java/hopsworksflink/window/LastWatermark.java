package hopsworksflink.window;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.streaming.api.watermark.Watermark;

/**
 * The watermark that has passed an operator, as part of its state: Flink begins again without one, and takes what comes
 * late for what comes in time.
 */
final class LastWatermark {
    private final ListState<Long> state;
    /** Epoch milliseconds; at first Long.MIN_VALUE. */
    long time = Long.MIN_VALUE;

    /** Goes on with the least one of all tasks. */
    LastWatermark(StateInitializationContext context) throws Exception {
        state = context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>("watermark", LongSerializer.INSTANCE));
        if (context.isRestored()) {
            long least = Long.MAX_VALUE;
            for (long one : state.get()) {
                least = Math.min(least, one);
            }
            time = least == Long.MAX_VALUE ? Long.MIN_VALUE : least;
        }
    }

    void pass(Watermark mark) {
        time = Math.max(time, mark.getTimestamp());
    }

    void snapshot() throws Exception {
        state.update(List.of(time));
    }
}
