package hopsworksflink.window;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.table.data.RowData;

/**
 * An operator with the watermark that has passed it in its state: Flink begins again without one, and takes what comes
 * late for what comes in time.
 */
abstract class WithWatermark extends AbstractStreamOperator<RowData> {
    private static final long serialVersionUID = 1L;

    private transient ListState<Long> watermarks;
    /** Epoch milliseconds; at first Long.MIN_VALUE, after a restart the least one of all tasks. */
    transient long watermark;

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        watermarks = context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>("watermark", LongSerializer.INSTANCE));
        watermark = Long.MIN_VALUE;
        if (context.isRestored()) {
            long least = Long.MAX_VALUE;
            for (long one : watermarks.get()) {
                least = Math.min(least, one);
            }
            watermark = least == Long.MAX_VALUE ? Long.MIN_VALUE : least;
        }
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        watermarks.update(List.of(watermark));
    }

    /**
     * Whether an event is behind the watermark.
     *
     * @param time where it has its time, a TIMESTAMP_LTZ(3) that is null or not after 1970 if the event is refused: such
     *     a one is never late.
     */
    final boolean isLate(RowData event, int time) {
        long at = event.isNullAt(time) ? 0 : event.getTimestamp(time, 3).getMillisecond();
        return 0 < at && at <= watermark;
    }

    @Override
    public final void processWatermark(Watermark mark) throws Exception {
        long before = watermark;
        watermark = Math.max(watermark, mark.getTimestamp());
        passed(before);
        super.processWatermark(mark);
    }

    /**
     * What is done when the watermark has come, before it goes on.
     *
     * @param before the one before it, epoch milliseconds.
     */
    void passed(long before) throws Exception {}
}
