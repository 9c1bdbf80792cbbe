package hopsworksflink.window;

import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.RowData;

/**
 * Leaves out events behind the watermark. Whoever looks for what was before them, duplicates or other events of their
 * key, has forgotten it.
 */
final class OnTime extends WithWatermark implements OneInputStreamOperator<RowData, RowData> {
    private static final long serialVersionUID = 1L;

    private final int time;

    private transient Counter dropped;

    /** @param time as for {@link #isLate}. */
    OnTime(int time) {
        this.time = time;
    }

    @Override
    public void open() throws Exception {
        super.open();
        dropped = metrics.counter("numLateRecordsDropped");
    }

    @Override
    public void processElement(StreamRecord<RowData> element) {
        if (isLate(element.getValue(), time)) {
            dropped.inc();
        } else {
            output.collect(element);
        }
    }
}
