package hopsworksflink.join;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeutils.base.ListSerializer;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.TwoInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.binary.BinaryRowData;
import org.apache.flink.table.data.utils.JoinedRowData;
import org.apache.flink.table.runtime.typeutils.RowDataSerializer;
import org.apache.flink.table.types.logical.RowType;

/**
 * Gives each event the version of its key that held at the event's time: the one that began last, not after it.
 *
 * <p>An event waits until the watermark passes it; what has been read by then decides. One behind the watermark waits
 * for nothing. The watermark is that of the events alone: Flink's own temporal join takes the lesser one of both sides,
 * which a topic that hardly changes holds back, or, while the events' side is idle, the other side's, which makes
 * events late. Versions are waited for once, when a job begins: until {@link CatchUp} says that they have been read.
 *
 * <p>State is the events that wait, and of each key the newest version and those that it replaced a while ago, which
 * late events ask for. A key whose newest version is a tombstone is forgotten after that while.
 */
final class AsOfJoin extends AbstractStreamOperator<RowData>
        implements TwoInputStreamOperator<RowData, RowData, RowData>, Triggerable<RowData, VoidNamespace> {
    private static final long serialVersionUID = 1L;

    private final RowType eventType;
    private final RowType joinedType;
    private final int time;
    private final RowData.FieldGetter[] columns;
    private final int from;
    private final int gone;
    private final long keep;

    private transient RowDataSerializer events;
    private transient RowDataSerializer joined;
    private transient MapState<Long, RowData> versions;
    private transient MapState<Long, List<RowData>> waiting;
    private transient InternalTimerService<VoidNamespace> timers;
    private transient RowData none;
    private transient Counter without;
    private transient StreamRecord<RowData> emitted;
    private transient boolean isRead;
    private transient boolean isIdle;
    private transient long watermark;

    /**
     * @param joinedType the columns that an event gets, and at last whether it has a version.
     * @param time where an event has its time, a TIMESTAMP_LTZ(3).
     * @param columns of a version that are joined, without that last one.
     * @param from where a version says since when it holds, a BIGINT of epoch milliseconds.
     * @param gone where it says whether it is a tombstone, a BOOLEAN.
     * @param keep for how long after it was replaced a version is kept, milliseconds.
     */
    AsOfJoin(
            RowType eventType,
            RowType joinedType,
            int time,
            RowData.FieldGetter[] columns,
            int from,
            int gone,
            long keep) {
        this.eventType = eventType;
        this.joinedType = joinedType;
        this.time = time;
        this.columns = columns;
        this.from = from;
        this.gone = gone;
        this.keep = keep;
    }

    @Override
    public void open() throws Exception {
        super.open();
        events = new RowDataSerializer(eventType);
        joined = new RowDataSerializer(joinedType);
        versions = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>("versions", LongSerializer.INSTANCE, joined));
        waiting = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>(
                        "waiting", LongSerializer.INSTANCE, new ListSerializer<RowData>(events)));
        timers = getInternalTimerService("join", VoidNamespaceSerializer.INSTANCE, this);
        GenericRowData nothing = new GenericRowData(columns.length + 1);
        nothing.setField(columns.length, false);
        none = joined.toBinaryRow(nothing).copy();
        without = metrics.counter("eventsWithoutVersion");
        emitted = new StreamRecord<>(new JoinedRowData());
        watermark = Long.MIN_VALUE;
    }

    @Override
    public void processElement1(StreamRecord<RowData> element) throws Exception {
        RowData event = element.getValue();
        long at = event.getTimestamp(time, 3).getMillisecond();
        if (((BinaryRowData) getCurrentKey()).anyNull()) {
            emit(event, at, none);
        } else if (at <= timers.currentWatermark()) {
            emit(event, at, versionAt(at));
        } else {
            List<RowData> same = waiting.get(at);
            if (same == null) {
                same = new ArrayList<>();
                timers.registerEventTimeTimer(VoidNamespace.INSTANCE, at);
            }
            same.add(events.copy(event));
            waiting.put(at, same);
        }
    }

    @Override
    public void processElement2(StreamRecord<RowData> element) throws Exception {
        RowData version = element.getValue();
        long since = version.getLong(from);
        boolean holds = !version.getBoolean(gone);
        GenericRowData row = new GenericRowData(columns.length + 1);
        for (int index = 0; index < columns.length; index++) {
            row.setField(index, holds ? columns[index].getFieldOrNull(version) : null);
        }
        row.setField(columns.length, holds);
        versions.put(since, joined.toBinaryRow(row).copy());
        if (since + keep > timers.currentWatermark()) {
            timers.registerEventTimeTimer(VoidNamespace.INSTANCE, since + keep);
        } else {
            forgetBefore(timers.currentWatermark() - keep);
        }
    }

    @Override
    public void onEventTime(InternalTimer<RowData, VoidNamespace> timer) throws Exception {
        long at = timer.getTimestamp();
        List<RowData> due = waiting.get(at);
        if (due != null) {
            waiting.remove(at);
            RowData version = versionAt(at);
            for (RowData event : due) {
                emit(event, at, version);
            }
        }
        if (versions.contains(at - keep)) {
            forgetBefore(at - keep);
        }
    }

    @Override
    public void onProcessingTime(InternalTimer<RowData, VoidNamespace> timer) {
        throw new IllegalStateException("there are no such timers");
    }

    private RowData versionAt(long at) throws Exception {
        long newest = Long.MIN_VALUE;
        RowData found = none;
        for (Map.Entry<Long, RowData> one : versions.entries()) {
            if (one.getKey() <= at && one.getKey() > newest) {
                newest = one.getKey();
                found = one.getValue();
            }
        }
        return found;
    }

    /** Forgets the versions that had been replaced at a moment, and a tombstone that held then. */
    private void forgetBefore(long at) throws Exception {
        long newest = Long.MIN_VALUE;
        for (long since : versions.keys()) {
            newest = since <= at ? Math.max(newest, since) : newest;
        }
        List<Long> forgotten = new ArrayList<>();
        for (Map.Entry<Long, RowData> one : versions.entries()) {
            long since = one.getKey();
            if (since < newest || since == newest && !one.getValue().getBoolean(columns.length)) {
                forgotten.add(since);
            }
        }
        for (long since : forgotten) {
            versions.remove(since);
        }
    }

    private void emit(RowData event, long at, RowData version) {
        if (!version.getBoolean(columns.length)) {
            without.inc();
        }
        JoinedRowData row = (JoinedRowData) emitted.getValue();
        output.collect(emitted.replace(row.replace(event, version), at));
    }

    @Override
    public void processWatermark1(Watermark mark) throws Exception {
        watermark = Math.max(watermark, mark.getTimestamp());
        if (isRead) {
            processWatermark(mark);
        }
    }

    @Override
    public void processWatermark2(Watermark mark) throws Exception {
        goOn();
    }

    @Override
    protected void processWatermarkStatus(WatermarkStatus status, int input) throws Exception {
        if (input == 0) {
            isIdle = status.isIdle();
            if (isRead) {
                processWatermarkStatus(status);
            }
        }
    }

    /** The versions' topic has been read once. */
    private void goOn() throws Exception {
        if (isRead) {
            return;
        }
        isRead = true;
        if (watermark > Long.MIN_VALUE) {
            processWatermark(new Watermark(watermark));
        }
        if (isIdle) {
            processWatermarkStatus(WatermarkStatus.IDLE);
        }
    }
}
