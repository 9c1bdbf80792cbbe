package hopsworksflink.window;

import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.RowData;

/**
 * Tells the watermark as a millisecond less, so that a session is emitted when the watermark has reached its end.
 *
 * <p>Flink emits a window at the watermark of its last millisecond, when an event at its end may still come. To a session
 * that event belongs: windows that touch are merged (TimeWindow.intersects).
 */
final class AfterTheEnd extends AbstractStreamOperator<RowData> implements OneInputStreamOperator<RowData, RowData> {
    private static final long serialVersionUID = 1L;

    @Override
    public void processElement(StreamRecord<RowData> element) {
        output.collect(element);
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        long time = mark.getTimestamp();
        boolean isTime = time != Long.MIN_VALUE && time != Long.MAX_VALUE;
        super.processWatermark(isTime ? new Watermark(time - 1) : mark);
    }
}
