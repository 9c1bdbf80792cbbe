package hopsworksflink.window;

import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.utils.JoinedRowData;

/** The events behind the watermark, each with the watermark beside it, epoch milliseconds. */
final class Late extends WithWatermark implements OneInputStreamOperator<RowData, RowData> {
    private static final long serialVersionUID = 1L;

    private final int time;

    /** @param time as for {@link #isLate}. */
    Late(int time) {
        this.time = time;
    }

    @Override
    public void processElement(StreamRecord<RowData> element) {
        RowData event = element.getValue();
        if (isLate(event, time)) {
            // A record of its own: others are handed the same one.
            RowData late = new JoinedRowData(event.getRowKind(), event, GenericRowData.of(watermark));
            output.collect(new StreamRecord<>(late, element.getTimestamp()));
        }
    }
}
