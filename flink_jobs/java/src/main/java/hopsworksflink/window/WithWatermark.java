package hopsworksflink.window;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.table.data.RowData;

/**
 * An operator with the watermark that has passed it in its state: Flink begins again without one, and takes what comes
 * late for what comes in time.
 */
abstract class WithWatermark extends AbstractStreamOperator<RowData> {
    private static final long serialVersionUID = 1L;

    private transient ListState<Long> watermarks;
    /** Of tasks that are idle: they held nothing back, and those without a partition have never had one. */
    private transient ListState<Long> idleWatermarks;

    private transient boolean isIdle;
    /** Epoch milliseconds; at first Long.MIN_VALUE, after a restart the least one of all tasks that were not idle. */
    transient long watermark;

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        watermarks = state(context, "watermark");
        idleWatermarks = state(context, "idle watermark");
        watermark = Long.MIN_VALUE;
        if (context.isRestored()) {
            long least = Long.MAX_VALUE;
            for (long one : watermarks.get()) {
                least = Math.min(least, one);
            }
            long greatest = Long.MIN_VALUE;
            for (long one : idleWatermarks.get()) {
                greatest = Math.max(greatest, one);
            }
            watermark = least == Long.MAX_VALUE ? greatest : least;
        }
    }

    private static ListState<Long> state(StateInitializationContext context, String name) throws Exception {
        return context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>(name, LongSerializer.INSTANCE));
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        watermarks.update(isIdle ? List.of() : List.of(watermark));
        idleWatermarks.update(isIdle ? List.of(watermark) : List.of());
    }

    @Override
    public void processWatermarkStatus(WatermarkStatus status) throws Exception {
        isIdle = status.isIdle();
        super.processWatermarkStatus(status);
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
