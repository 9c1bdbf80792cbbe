package hopsworksflink.window;

import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.binary.BinaryRowData;
import org.apache.flink.table.data.utils.ProjectedRowData;
import org.apache.flink.table.runtime.typeutils.RowDataSerializer;
import org.apache.flink.table.types.logical.RowType;

/**
 * Aggregates events by key and pane before they are sent to the task of their key, which then sees one row in place of
 * many. What it holds goes out before a watermark that closes windows, before a checkpoint, and when it is full; so it
 * has no state. Where keys hardly repeat that costs and brings nothing: then it sends each event by itself for a while.
 */
final class Combiner extends AbstractStreamOperator<Tuple2<RowData, Panes>>
        implements OneInputStreamOperator<RowData, Tuple2<RowData, Panes>> {
    private static final long serialVersionUID = 1L;

    /** Panes of all keys at the same time. */
    private static final int MOST = 10_000;
    /** Keys, as few as tell nothing about others. */
    private static final int FEW = 1_000;
    /** Events to each key from which on it is worth it, and how many times as long not to try again. */
    private static final int WORTH = 2;

    private static final int PAUSE = 20;

    private final RowType keyType;
    private final Layout layout;
    private final Shape shape;

    private transient RowDataSerializer keys;
    private transient ProjectedRowData key;
    private transient Map<BinaryRowData, Panes> bundle;
    private transient Form form;
    private transient Panes single;
    private transient Pane pane;
    private transient StreamRecord<Tuple2<RowData, Panes>> sent;
    private transient int held;
    private transient long events;
    private transient long aside;
    private transient long open;

    /** @param keyType of the key, which is at the beginning of an event; its time follows. */
    Combiner(RowType keyType, Layout layout, Shape shape) {
        this.keyType = keyType;
        this.layout = layout;
        this.shape = shape;
    }

    @Override
    public void open() throws Exception {
        super.open();
        keys = new RowDataSerializer(keyType);
        key = ProjectedRowData.from(IntStream.range(0, keyType.getFieldCount()).toArray());
        bundle = new HashMap<>();
        form = layout.form(shape);
        single = new Panes(form);
        pane = new Pane();
        sent = new StreamRecord<>(new Tuple2<>());
        open = Long.MIN_VALUE;
    }

    @Override
    public void processElement(StreamRecord<RowData> element) {
        RowData event = element.getValue();
        long number = shape.paneOf(event.getTimestamp(keyType.getFieldCount(), 3).getMillisecond());
        BinaryRowData of = keys.toBinaryRow(key.replaceRow(event));
        if (aside > 0) {
            aside--;
            single.clear();
            add(event, single, number);
            send(of, single);
            return;
        }
        Panes panes = bundle.get(of);
        if (panes == null) {
            panes = new Panes(form);
            bundle.put(of.copy(), panes);
        }
        held -= panes.count;
        add(event, panes, number);
        held += panes.count;
        events++;
        if (held == MOST) {
            flush();
        }
    }

    private void add(RowData event, Panes panes, long number) {
        panes.find(number, pane);
        layout.add(event, pane);
    }

    private void send(RowData of, Panes panes) {
        sent.getValue().setFields(of, panes);
        output.collect(sent);
    }

    private void flush() {
        bundle.forEach(this::send);
        if (bundle.size() >= FEW && events < (long) WORTH * bundle.size()) {
            aside = PAUSE * events;
        }
        bundle.clear();
        held = 0;
        events = 0;
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        long next = shape.firstOpen(mark.getTimestamp());
        if (next > open) {
            open = next;
            flush();
        }
        super.processWatermark(mark);
    }

    @Override
    public void processWatermarkStatus(WatermarkStatus status) throws Exception {
        if (status.isIdle()) {
            // Others may now close windows that these events belong to.
            flush();
        }
        super.processWatermarkStatus(status);
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
        flush();
        super.prepareSnapshotPreBarrier(checkpoint);
    }

    @Override
    public void finish() throws Exception {
        flush();
        super.finish();
    }
}
