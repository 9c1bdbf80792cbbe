package hopsworksflink.window;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
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
 * Makes windows of panes. All panes of a key are one value of state, with one timer, for the next window that ends.
 *
 * <p>As Flink's windows do, it emits each window that holds an event of the key, when the watermark passes its end; an
 * event counts in all windows that are still open, and one that comes too late for every window is dropped and counted.
 */
final class Windows extends AbstractStreamOperator<RowData>
        implements OneInputStreamOperator<Tuple2<RowData, Panes>, RowData>, Triggerable<RowData, VoidNamespace> {
    private static final long serialVersionUID = 1L;
    /** Start and end of a window stand between key and aggregates. */
    static final int BOUNDS = 2;

    private final Layout layout;
    private final Shape shape;

    private transient ValueState<Panes> state;
    private transient ListState<Long> watermarks;
    private transient InternalTimerService<VoidNamespace> timers;
    /** Events that came too late for every window. */
    transient Counter dropped;
    private transient Pane from;
    private transient Pane into;
    private transient Pane window;
    private transient GenericRowData values;
    private transient StreamRecord<RowData> emitted;
    private transient long restored;

    Windows(Layout layout, Shape shape) {
        this.layout = layout;
        this.shape = shape;
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        // Flink begins again without watermark. What comes late must not make a window again that has been emitted.
        watermarks = context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>("watermark", LongSerializer.INSTANCE));
        restored = Long.MIN_VALUE;
        if (context.isRestored()) {
            long least = Long.MAX_VALUE;
            for (long watermark : watermarks.get()) {
                least = Math.min(least, watermark);
            }
            restored = least == Long.MAX_VALUE ? Long.MIN_VALUE : least;
        }
    }

    @Override
    public void open() throws Exception {
        super.open();
        state = getPartitionedState(new ValueStateDescriptor<>("panes", PanesSerializer.of(layout, shape)));
        timers = getInternalTimerService("windows", VoidNamespaceSerializer.INSTANCE, this);
        dropped = metrics.counter("numLateRecordsDropped");
        from = new Pane();
        into = new Pane();
        window = Pane.alone(layout);
        values = new GenericRowData(BOUNDS + layout.results().length);
        emitted = new StreamRecord<>(new JoinedRowData());
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        watermarks.update(List.of(watermark()));
    }

    private long watermark() {
        return Math.max(restored, timers.currentWatermark());
    }

    @Override
    public void processElement(StreamRecord<Tuple2<RowData, Panes>> element) throws Exception {
        Panes arrived = element.getValue().f1;
        Panes panes = state.value();
        if (panes == null) {
            panes = new Panes(layout);
        }
        long open = shape.firstOpen(watermark());
        long due = Panes.NONE;
        for (int at = 0; at < arrived.count; at++) {
            long number = arrived.numbers[at];
            arrived.get(at, from);
            if (shape.lastWindow(number) < open) {
                dropped.inc(layout.events(from));
                continue;
            }
            long first = Math.max(number, open);
            // Of a window that grows, the panes that have been emitted are one.
            panes.find(shape.growing() ? first : number, into);
            layout.merge(from, into);
            due = Math.min(due, first);
        }
        if (due != Panes.NONE) {
            if (due < panes.due) {
                schedule(panes, due);
            }
            state.update(panes);
        }
    }

    private void schedule(Panes panes, long due) {
        if (panes.due != Panes.NONE) {
            timers.deleteEventTimeTimer(VoidNamespace.INSTANCE, shape.end(panes.due) - 1);
        }
        panes.due = due;
        timers.registerEventTimeTimer(VoidNamespace.INSTANCE, shape.end(due) - 1);
    }

    @Override
    public void onEventTime(InternalTimer<RowData, VoidNamespace> timer) throws Exception {
        Panes panes = state.value();
        long last = panes.due;
        int begin = 0;
        while (panes.numbers[begin] < shape.firstPane(last)) {
            begin++;
        }
        window.clear();
        int end = begin;
        for (; end < panes.count && panes.numbers[end] <= last; end++) {
            panes.get(end, from);
            layout.merge(from, window);
        }
        emit(timer.getKey(), last);
        if (shape.growing() && end - begin > 1) {
            panes.get(begin, into);
            System.arraycopy(window.words, 0, into.words, into.word, window.words.length);
            System.arraycopy(window.objects, 0, into.objects, into.object, window.objects.length);
            panes.numbers[begin] = last;
            panes.remove(begin + 1, end);
        }
        int over = 0;
        while (over < panes.count && shape.lastWindow(panes.numbers[over]) <= last) {
            over++;
        }
        panes.remove(0, over);
        if (panes.count == 0) {
            state.clear();
            return;
        }
        panes.due = Panes.NONE;
        schedule(panes, Math.max(last + 1, panes.numbers[0]));
        state.update(panes);
    }

    private void emit(RowData key, long last) {
        values.setField(0, TimestampData.fromEpochMillis(shape.start(last)));
        values.setField(1, TimestampData.fromEpochMillis(shape.end(last)));
        layout.results(window, values, BOUNDS);
        output.collect(emitted.replace(((JoinedRowData) emitted.getValue()).replace(key, values)));
    }

    @Override
    public void onProcessingTime(InternalTimer<RowData, VoidNamespace> timer) {
        throw new IllegalStateException("no timer of processing time is set");
    }
}
