package hopsworksflink.join;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.IntSerializer;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.api.common.typeutils.base.MapSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.table.data.RowData;

/**
 * Says, by its only watermark, that a topic has been read up to what it held when the job began or began again.
 *
 * <p>It runs in one task, which all records of the topic pass: only so does anybody see each partition. Which record is
 * the last one that can be read is asked of the broker; nothing is guessed from a topic's silence, which a busy machine
 * makes as well.
 */
final class CatchUp extends AbstractStreamOperator<RowData> implements OneInputStreamOperator<RowData, RowData> {
    private static final long serialVersionUID = 1L;
    private static final Watermark READ = new Watermark(Long.MAX_VALUE - 1);

    private final LastOffsets ends;
    private final int[] needed;
    private final int partition;

    private transient ListState<Map<Integer, Long>> state;
    private transient Map<Integer, Long> read;
    private transient Map<Integer, Long> left;

    /**
     * @param needed columns without which a record says nothing, and goes no further.
     * @param partition column with a record's partition; its offset follows.
     */
    CatchUp(LastOffsets ends, int[] needed, int partition) {
        this.ends = ends;
        this.needed = needed;
        this.partition = partition;
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        state = context.getOperatorStateStore()
                .getListState(new ListStateDescriptor<>(
                        "read", new MapSerializer<>(IntSerializer.INSTANCE, LongSerializer.INSTANCE)));
        read = new HashMap<>();
        for (Map<Integer, Long> one : state.get()) {
            read.putAll(one);
        }
    }

    @Override
    public void open() throws Exception {
        super.open();
        left = new HashMap<>(ends.get());
        left.entrySet().removeIf(end -> read.getOrDefault(end.getKey(), -1L) >= end.getValue());
        // Nothing can be emitted yet.
        long now = getProcessingTimeService().getCurrentProcessingTime();
        getProcessingTimeService().registerTimer(now, time -> tell());
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        state.clear();
        state.add(read);
    }

    @Override
    public void processElement(StreamRecord<RowData> element) throws Exception {
        RowData row = element.getValue();
        int of = row.getInt(partition);
        long offset = row.getLong(partition + 1);
        boolean counts = true;
        for (int column : needed) {
            counts &= !row.isNullAt(column);
        }
        if (counts) {
            output.collect(element);
        }
        read.put(of, offset);
        if (left.getOrDefault(of, Long.MAX_VALUE) <= offset) {
            left.remove(of);
            tell();
        }
    }

    private void tell() {
        if (left.isEmpty()) {
            output.emitWatermark(READ);
        }
    }

    @Override
    public void processWatermark(Watermark mark) {
        // The topic's own says nothing.
    }

    @Override
    public void processWatermarkStatus(WatermarkStatus status) {
        // Nor does its silence.
    }
}
