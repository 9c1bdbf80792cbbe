package hopsworksflink.window;

import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.RowData;

/**
 * Leaves out events behind the watermark. Whoever looks for their duplicates has forgotten what was sent before.
 *
 * <p>Refused events, whose time is none, go on.
 */
final class OnTime extends WithWatermark implements OneInputStreamOperator<RowData, RowData> {
    private static final long serialVersionUID = 1L;

    private final int time;

    private transient Counter dropped;

    /** @param time where an event has its time, a TIMESTAMP_LTZ(3) that is null or not after 1970 if it is refused. */
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
        RowData event = element.getValue();
        long at = event.isNullAt(time) ? 0 : event.getTimestamp(time, 3).getMillisecond();
        if (0 < at && at <= watermark) {
            dropped.inc();
        } else {
            output.collect(element);
        }
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        remember(mark);
        super.processWatermark(mark);
    }
}
