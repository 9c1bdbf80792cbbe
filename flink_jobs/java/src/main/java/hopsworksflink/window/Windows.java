package hopsworksflink.window;

import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.runtime.state.heap.HeapKeyedStateBackend;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.data.utils.JoinedRowData;

/**
 * Makes windows of panes. All panes of a key are one value of state, with a total for each length that is aggregated: of
 * those panes that the next window shares with the one before. A window's end adds one pane to it and takes another one
 * away.
 *
 * <p>As Flink's windows do, it emits each window that holds an event of the key, when the watermark passes its end; an
 * event counts in all windows that are still open, and one that comes too late for every window is dropped and counted.
 * Windows of all keys end at the same moments, so it then goes through all keys, and needs no timers; only with a row
 * for each event does each key have one.
 */
final class Windows extends WithWatermark
        implements OneInputStreamOperator<Tuple2<RowData, Panes>, RowData>, Triggerable<RowData, VoidNamespace> {
    private static final long serialVersionUID = 1L;
    /** Start and end of a window stand between key and aggregates. */
    static final int BOUNDS = 2;

    private final Layout layout;
    private final Shape shape;

    private transient Form form;
    private transient ValueStateDescriptor<Panes> descriptor;
    private transient ValueState<Panes> state;
    /** Whether state is what was put there, and needs no word about a change. */
    private transient boolean isObject;
    private transient InternalTimerService<VoidNamespace> timers;
    /** Events that came too late for every window. */
    transient Counter dropped;
    private transient Pane from;
    private transient Pane into;
    private transient Pane total;
    private transient GenericRowData values;
    private transient StreamRecord<RowData> emitted;

    Windows(Layout layout, Shape shape) {
        this.layout = layout;
        this.shape = shape;
    }

    @Override
    public void open() throws Exception {
        super.open();
        form = layout.form(shape);
        descriptor = new ValueStateDescriptor<>("panes", new PanesSerializer(form));
        state = getPartitionedState(descriptor);
        isObject = getKeyedStateBackend() instanceof HeapKeyedStateBackend;
        if (shape.atEvents()) {
            timers = getInternalTimerService("windows", VoidNamespaceSerializer.INSTANCE, this);
        }
        dropped = metrics.counter("numLateRecordsDropped");
        from = new Pane();
        into = new Pane();
        total = new Pane();
        values = new GenericRowData(BOUNDS + layout.results().length);
        emitted = new StreamRecord<>(new JoinedRowData());
    }

    @Override
    public void processElement(StreamRecord<Tuple2<RowData, Panes>> element) throws Exception {
        Panes arrived = element.getValue().f1;
        Panes present = state.value();
        Panes panes = present == null ? new Panes(form) : fitting(present);
        long open = open(panes);
        long due = panes.due;
        for (int at = 0; at < arrived.count; at++) {
            long number = arrived.number(at);
            arrived.get(at, from);
            if (shape.lastWindow(number) < open) {
                dropped.inc(layout.events(from));
                continue;
            }
            panes.due = Math.min(panes.due, Math.max(number, open));
            boolean isTotalled = number < panes.due;
            if (isTotalled) {
                layout.addToTotals(from, number, panes, shape, panes.due, total);
            }
            if (!isTotalled || !shape.growing()) {
                panes.find(number, into);
                layout.merge(from, into);
            }
        }
        schedule(due, panes.due);
        if (panes != present ? !panes.isEmpty() : !isObject) {
            state.update(panes);
        }
    }

    /** Panes of a job with other aggregates come as they were. */
    private Panes fitting(Panes panes) {
        return panes.form.equals(form) ? panes : form.convert(panes);
    }

    /** The first window of a key that has not been emitted. */
    private long open(Panes panes) {
        long open = shape.firstOpen(watermark);
        if (!panes.isUnderWay()) {
            return open;
        }
        // After a restore at another parallelism a key may be ahead of the watermark.
        return shape.atEvents() ? Math.max(open, panes.number(panes.before(panes.due) - 1) + 1) : panes.due;
    }

    private void schedule(long before, long due) {
        if (timers == null || due == before) {
            return;
        }
        if (before != Panes.NONE) {
            timers.deleteEventTimeTimer(VoidNamespace.INSTANCE, shape.end(before));
        }
        if (due != Panes.NONE) {
            timers.registerEventTimeTimer(VoidNamespace.INSTANCE, shape.end(due));
        }
    }

    @Override
    void passed(long before) throws Exception {
        long open = shape.firstOpen(watermark);
        if (open > shape.firstOpen(before) && timers == null) {
            KeyedStateBackend<RowData> keys = getKeyedStateBackend();
            keys.applyToAllKeys(
                    VoidNamespace.INSTANCE,
                    VoidNamespaceSerializer.INSTANCE,
                    descriptor,
                    (key, ofKey) -> emitUntil(open, key, ofKey));
        }
    }

    @Override
    public void onEventTime(InternalTimer<RowData, VoidNamespace> timer) throws Exception {
        emitUntil(shape.firstOpen(watermark), timer.getKey(), state);
    }

    @Override
    public void onProcessingTime(InternalTimer<RowData, VoidNamespace> timer) {
        throw new IllegalStateException("no timer of processing time is set");
    }

    /** Emits the windows of a key before one. */
    private void emitUntil(long open, RowData key, ValueState<Panes> ofKey) throws Exception {
        Panes present = ofKey.value();
        if (present.due >= open) {
            return;
        }
        Panes panes = fitting(present);
        while (panes.due < open) {
            if (shape.atEvents()) {
                emitEvents(key, panes);
            } else {
                emitWindow(key, panes);
            }
        }
        schedule(Panes.NONE, panes.due);
        if (panes.isEmpty()) {
            ofKey.clear();
        } else if (panes != present || !isObject) {
            ofKey.update(panes);
        }
    }

    /** Emits the window that is due, and goes on to the next one. */
    private void emitWindow(RowData key, Panes panes) {
        long last = panes.due;
        int end = addDue(panes);
        emit(key, panes, 1);
        if (!shape.growing()) {
            leave(panes, end, last, last + 1);
        } else {
            // What has been emitted is in the total only, and all of it leaves at once.
            panes.removeFirst(end);
            if (shape.lastWindow(last) == last) {
                panes.clearTotal(0);
            }
        }
        panes.due = last + 1;
        if (!panes.isUnderWay()) {
            panes.due = panes.count > 0 ? panes.number(0) : Panes.NONE;
        }
    }

    /** Emits the rows of the events at the time that is due, if there are some, and goes on to the next ones. */
    private void emitEvents(RowData key, Panes panes) {
        leave(panes, panes.before(panes.due), Long.MIN_VALUE / 2, panes.due);
        int end = addDue(panes);
        if (end > 0 && panes.number(end - 1) == panes.due) {
            emit(key, panes, layout.events(from));
        }
        // After the last event the key is forgotten when nothing of it can count any more.
        panes.due = end < panes.count
                ? panes.number(end)
                : end > 0 ? panes.number(end - 1) + shape.panes() : Panes.NONE;
    }

    /** Adds the pane that is due to the totals, if there is one. Returns how many panes there are up to it. */
    private int addDue(Panes panes) {
        int end = panes.before(panes.due);
        if (end < panes.count && panes.number(end) == panes.due) {
            panes.get(end++, from);
            layout.addToTotals(from, panes.due, panes, shape, panes.due, total);
        }
        return end;
    }

    /** Goes on from one window to another with the totals of the panes up to a place, and forgets what is behind it. */
    private void leave(Panes panes, int end, long before, long window) {
        layout.leave(panes, end, shape, before, window, from, total);
        panes.removeFirst(panes.before(shape.firstPane(window)));
    }

    private void emit(RowData key, Panes panes, long times) {
        values.setField(0, TimestampData.fromEpochMillis(shape.start(panes.due)));
        values.setField(1, TimestampData.fromEpochMillis(shape.end(panes.due)));
        layout.results(panes, shape, panes.due, values, BOUNDS, total);
        for (long time = 0; time < times; time++) {
            output.collect(emitted.replace(((JoinedRowData) emitted.getValue()).replace(key, values)));
        }
    }
}
