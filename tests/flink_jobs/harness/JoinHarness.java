package hopsworksflink.join;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.hashmap.HashMapStateBackend;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedTwoInputStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.BooleanType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LocalZonedTimestampType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.VarCharType;

/**
 * Runs the two operators of a join in Flink's own harnesses, one request a line: {"keep", "rocksdb", "ends": {partition:
 * last offset}, "actions"}. An action is {"event": [card, ms, number]}, {"version": [card, limit, since, is tombstone,
 * partition, offset]}, {"watermark": ms}, {"idle": whether}, both of the events, {"quiet": true}, the watermark and
 * silence of the versions' topic, or {"savepoint": tasks, "ends"}, after which both begin anew, the join in so many
 * tasks. The answer: {"rows": [[card, ms, number, limit, has a version]], "shown": [what else the first task emits, each
 * behind so many rows], "keys": how many have state} or {"error"}.
 */
public final class JoinHarness {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int KEY_GROUPS = 8;
    private static final VarCharType TEXT = VarCharType.STRING_TYPE;
    private static final RowType EVENT = RowType.of(TEXT, new LocalZonedTimestampType(3), new BigIntType());
    private static final RowType JOINED = RowType.of(new BigIntType(), new BooleanType());
    private static final RowType ROW =
            RowType.of(TEXT, new LocalZonedTimestampType(3), new BigIntType(), new BigIntType(), new BooleanType());
    private static final RowType VERSION = RowType.of(
            TEXT, new BigIntType(), new BigIntType(), new BooleanType(), new IntType(), new BigIntType());
    private static final RowType KEY = RowType.of(TEXT);
    private static final int CARD = 0;
    private static final int SINCE = 2;

    private final boolean rocksdb;
    private final long keep;
    private final ObjectNode answer = JSON.createObjectNode();
    private final ArrayNode rows = answer.putArray("rows");
    private final ArrayNode shown = answer.putArray("shown");
    private final List<KeyedTwoInputStreamOperatorTestHarness<RowData, RowData, RowData, RowData>> joins =
            new ArrayList<>();
    private OneInputStreamOperatorTestHarness<RowData, RowData> catchUp;

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer;
            try {
                answer = new JoinHarness(JSON.readTree(line)).answer;
            } catch (Exception error) {
                answer = JSON.createObjectNode().put("error", String.valueOf(error));
            }
            System.out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
            System.out.flush();
        }
    }

    private JoinHarness(JsonNode request) throws Exception {
        rocksdb = request.get("rocksdb").asBoolean();
        keep = request.get("keep").asLong();
        open(ends(request), null, null, 1);
        for (JsonNode action : request.get("actions")) {
            act(action);
            pass();
        }
        int keys = 0;
        for (var join : joins) {
            keys += rocksdb ? 0 : join.numKeyedStateEntries();
            join.close();
        }
        answer.put("keys", keys);
        catchUp.close();
    }

    private void act(JsonNode action) throws Exception {
        JsonNode row = action.elements().next();
        if (action.has("event")) {
            RowData event = GenericRowData.of(
                    text(row.get(0)), TimestampData.fromEpochMillis(row.get(1).asLong()), row.get(2).asLong());
            joins.get(taskOf(event)).processElement1(new StreamRecord<>(event));
        } else if (action.has("version")) {
            Object[] fields = {
                text(row.get(0)),
                number(row.get(1)),
                number(row.get(2)),
                row.get(3).asBoolean(),
                row.get(4).asInt(),
                row.get(5).asLong()
            };
            catchUp.processElement(new StreamRecord<>(GenericRowData.of(fields)));
        } else if (action.has("watermark")) {
            for (var join : joins) {
                join.processWatermark1(new Watermark(row.asLong()));
            }
        } else if (action.has("idle")) {
            for (var join : joins) {
                join.processWatermarkStatus1(row.asBoolean() ? WatermarkStatus.IDLE : WatermarkStatus.ACTIVE);
            }
        } else if (action.has("quiet")) {
            catchUp.processWatermark(new Watermark(Long.MAX_VALUE - 2));
            catchUp.processWatermarkStatus(WatermarkStatus.IDLE);
        } else {
            savepoint(row.asInt(), ends(action));
        }
    }

    private static Map<Integer, Long> ends(JsonNode of) {
        Map<Integer, Long> ends = new HashMap<>();
        of.get("ends").properties().forEach(end -> ends.put(Integer.valueOf(end.getKey()), end.getValue().asLong()));
        return ends;
    }

    private static StringData text(JsonNode value) {
        return value.isNull() ? null : StringData.fromString(value.asText());
    }

    private static Long number(JsonNode value) {
        return value.isNull() ? null : value.asLong();
    }

    private int taskOf(RowData row) throws Exception {
        return KeyGroupRangeAssignment.assignKeyToParallelOperator(byCard().getKey(row), KEY_GROUPS, joins.size());
    }

    private static ByKey byCard() {
        return new ByKey(KEY, new RowData.FieldGetter[] {RowData.createFieldGetter(TEXT, CARD)});
    }

    private void open(Map<Integer, Long> ends, OperatorSubtaskState read, OperatorSubtaskState state, int tasks)
            throws Exception {
        int before = joins.size();
        joins.clear();
        for (int task = 0; task < tasks; task++) {
            RowData.FieldGetter[] limit = {RowData.createFieldGetter(new BigIntType(), 1)};
            AsOfJoin operator = new AsOfJoin(EVENT, JOINED, 1, limit, SINCE, SINCE + 1, keep);
            var join = new KeyedTwoInputStreamOperatorTestHarness<RowData, RowData, RowData, RowData>(
                    operator, byCard(), byCard(), InternalTypeInfo.of(KEY), KEY_GROUPS, tasks, task);
            join.setStateBackend(rocksdb ? new EmbeddedRocksDBStateBackend() : new HashMapStateBackend());
            join.setup(InternalTypeInfo.of(ROW).toSerializer());
            if (state != null) {
                join.initializeState(AbstractStreamOperatorTestHarness.repartitionOperatorState(
                        state, KEY_GROUPS, before, tasks, task));
            }
            join.open();
            joins.add(join);
        }
        catchUp = new OneInputStreamOperatorTestHarness<>(new CatchUp(() -> ends, new int[] {CARD, SINCE}, SINCE + 2));
        catchUp.setup(InternalTypeInfo.of(VERSION).toSerializer());
        if (read != null) {
            catchUp.initializeState(read);
        }
        catchUp.open();
        catchUp.setProcessingTime(1);
        pass();
    }

    private void savepoint(int tasks, Map<Integer, Long> ends) throws Exception {
        OperatorSubtaskState[] states = new OperatorSubtaskState[joins.size()];
        for (int task = 0; task < states.length; task++) {
            states[task] = joins.get(task).snapshot(1, 1);
            joins.get(task).close();
        }
        OperatorSubtaskState read = catchUp.snapshot(1, 1);
        catchUp.close();
        open(ends, read, AbstractStreamOperatorTestHarness.repackageState(states), tasks);
    }

    /** Hand on what the first operator sent, as the network does, and take what the join emitted. */
    @SuppressWarnings("unchecked")
    private void pass() throws Exception {
        for (Object one = catchUp.getOutput().poll(); one != null; one = catchUp.getOutput().poll()) {
            if (one instanceof StreamRecord<?> version) {
                joins.get(taskOf((RowData) version.getValue())).processElement2((StreamRecord<RowData>) version);
                continue;
            }
            for (var join : joins) {
                if (one instanceof Watermark mark) {
                    join.processWatermark2(mark);
                } else {
                    join.processWatermarkStatus2((WatermarkStatus) one);
                }
            }
        }
        for (var join : joins) {
            for (Object one = join.getOutput().poll(); one != null; one = join.getOutput().poll()) {
                if (one instanceof StreamRecord<?> record) {
                    show((RowData) record.getValue(), record.getTimestamp());
                } else if (join == joins.get(0)) {
                    String what = one instanceof Watermark mark ? String.valueOf(mark.getTimestamp())
                            : ((WatermarkStatus) one).isIdle() ? "idle" : "active";
                    shown.addArray().add(rows.size()).add(what);
                }
            }
        }
    }

    private void show(RowData row, long at) {
        long time = row.getTimestamp(1, 3).getMillisecond();
        if (at != time) {
            throw new IllegalStateException("a row of " + time + " is stamped " + at);
        }
        ArrayNode one = rows.addArray().add(row.isNullAt(0) ? null : row.getString(0).toString());
        one.add(time).add(row.getLong(2)).add(row.isNullAt(3) ? null : row.getLong(3)).add(row.getBoolean(4));
    }
}
