package hopsworksflink.window;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.TupleTypeInfo;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateBackend;
import org.apache.flink.runtime.state.hashmap.HashMapStateBackend;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.TimestampType;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;

/**
 * Runs the two operators of windows in Flink's own harnesses, one request a line: {"columns": [[name, type]], "keys",
 * "pane", "panes", "emit", "aggregates": [[function, column]], "rocksdb", "goes_on", "actions"}; an aggregate may have a
 * third part, the panes that it looks back at. A request that goes on has the state that the one before left. An action is {"event": [values]}, {"watermark": ms} or {"savepoint": subtasks},
 * after which both operators begin anew, the second one in so many tasks. The answer: {"rows", "dropped", "sent"}, or
 * {"error"}.
 */
public final class WindowHarness {
    private static final ObjectMapper JSON = new ObjectMapper();

    private static final int KEY_GROUPS = 8;

    private static OperatorSubtaskState left;
    private static int tasks;

    private final RowType input;
    private final RowType keyType;
    private final Shape shape;
    private final Layout layout;
    private final RowType output;
    private final boolean rocksdb;
    private final ObjectNode answer = JSON.createObjectNode();
    private final ArrayNode rows = answer.putArray("rows");
    private OneInputStreamOperatorTestHarness<RowData, Tuple2<RowData, Panes>> combiner;
    private final List<KeyedOneInputStreamOperatorTestHarness<RowData, Tuple2<RowData, Panes>, RowData>> windows =
            new ArrayList<>();
    private final List<Windows> operators = new ArrayList<>();
    private long sent;
    private long dropped;

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer;
            try {
                answer = new WindowHarness(JSON.readTree(line)).answer;
            } catch (Exception error) {
                Throwable cause = error;
                while (cause.getCause() != null) {
                    cause = cause.getCause();
                }
                answer = JSON.createObjectNode().put("error", String.valueOf(cause.getMessage()));
            }
            System.out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
            System.out.flush();
        }
    }

    private WindowHarness(JsonNode request) throws Exception {
        List<RowType.RowField> fields = new ArrayList<>();
        for (JsonNode one : request.get("columns")) {
            LogicalType type = LogicalTypeParser.parse(one.get(1).asText(), getClass().getClassLoader());
            fields.add(new RowType.RowField(one.get(0).asText(), type));
        }
        input = new RowType(fields);
        keyType = new RowType(fields.subList(0, request.get("keys").asInt()));
        shape = new Shape(
                request.get("pane").asLong(),
                request.get("panes").asLong(),
                Shape.Emit.valueOf(request.get("emit").asText()));
        List<Layout.Aggregate> aggregates = new ArrayList<>();
        for (JsonNode one : request.get("aggregates")) {
            String column = one.get(1).isNull() ? null : one.get(1).asText();
            long panes = one.path(2).asLong(shape.panes());
            aggregates.add(new Layout.Aggregate(Function.valueOf(one.get(0).asText()), column, column, panes));
        }
        layout = new Layout(input, aggregates);
        List<LogicalType> types = new ArrayList<>(keyType.getChildren());
        types.addAll(List.of(new TimestampType(3), new TimestampType(3)));
        types.addAll(List.of(layout.results()));
        output = RowType.of(types.toArray(new LogicalType[0]));
        rocksdb = request.get("rocksdb").asBoolean();
        open(request.get("goes_on").asBoolean() ? left : null, 1);
        for (JsonNode action : request.get("actions")) {
            if (action.has("event")) {
                combiner.processElement(new StreamRecord<>(row(action.get("event"))));
            } else if (action.has("watermark")) {
                combiner.processWatermark(new Watermark(action.get("watermark").asLong()));
            } else {
                savepoint();
                open(left, action.get("savepoint").asInt());
            }
            pass();
        }
        savepoint();
        answer.put("dropped", dropped).put("sent", sent);
    }

    private void open(OperatorSubtaskState state, int subtasks) throws Exception {
        PanesType panes = new PanesType(new PanesSerializer(layout.form(shape)));
        TupleTypeInfo<Tuple2<RowData, Panes>> combined = new TupleTypeInfo<>(InternalTypeInfo.of(keyType), panes);
        combiner = new OneInputStreamOperatorTestHarness<>(new Combiner(keyType, layout, shape));
        combiner.setup(combined.createSerializer(combiner.getExecutionConfig().getSerializerConfig()));
        combiner.open();
        windows.clear();
        operators.clear();
        int before = tasks;
        tasks = subtasks;
        for (int task = 0; task < subtasks; task++) {
            Windows operator = new Windows(layout, shape);
            operators.add(operator);
            KeyedOneInputStreamOperatorTestHarness<RowData, Tuple2<RowData, Panes>, RowData> harness =
                    new KeyedOneInputStreamOperatorTestHarness<>(
                            operator, one -> one.f0, InternalTypeInfo.of(keyType), KEY_GROUPS, subtasks, task);
            windows.add(harness);
            StateBackend backend = rocksdb ? new EmbeddedRocksDBStateBackend() : new HashMapStateBackend();
            harness.setStateBackend(backend);
            harness.setup(InternalTypeInfo.of(output).toSerializer());
            if (state != null) {
                harness.initializeState(AbstractStreamOperatorTestHarness.repartitionOperatorState(
                        state, KEY_GROUPS, before, subtasks, task));
            }
            harness.open();
        }
    }

    private void savepoint() throws Exception {
        combiner.prepareSnapshotPreBarrier(1);
        pass();
        OperatorSubtaskState[] states = new OperatorSubtaskState[windows.size()];
        for (int task = 0; task < states.length; task++) {
            states[task] = windows.get(task).snapshot(1, 1);
            dropped += operators.get(task).dropped.getCount();
            windows.get(task).close();
        }
        left = AbstractStreamOperatorTestHarness.repackageState(states);
        combiner.close();
    }

    /** Hand on what the combiner sent, as the network does, and take what the windows emitted. */
    @SuppressWarnings("unchecked")
    private void pass() throws Exception {
        for (Object one = combiner.getOutput().poll(); one != null; one = combiner.getOutput().poll()) {
            if (one instanceof Watermark mark) {
                for (var task : windows) {
                    task.processWatermark(mark);
                }
            } else {
                sent++;
                StreamRecord<Tuple2<RowData, Panes>> record = (StreamRecord<Tuple2<RowData, Panes>>) one;
                int task = KeyGroupRangeAssignment.assignKeyToParallelOperator(
                        record.getValue().f0, KEY_GROUPS, windows.size());
                windows.get(task).processElement(record);
            }
        }
        for (var task : windows) {
            for (Object one = task.getOutput().poll(); one != null; one = task.getOutput().poll()) {
                if (one instanceof StreamRecord<?> record) {
                    show((RowData) record.getValue());
                }
            }
        }
    }

    private GenericRowData row(JsonNode values) {
        GenericRowData row = new GenericRowData(input.getFieldCount());
        for (int index = 0; index < input.getFieldCount(); index++) {
            row.setField(index, values.get(index).isNull() ? null : value(values.get(index), input.getTypeAt(index)));
        }
        return row;
    }

    private static Object value(JsonNode value, LogicalType type) {
        return switch (type.getTypeRoot()) {
            case BOOLEAN -> value.asBoolean();
            case TINYINT -> (byte) value.asInt();
            case SMALLINT -> (short) value.asInt();
            case INTEGER, DATE -> value.asInt();
            case BIGINT -> value.asLong();
            case FLOAT -> Float.parseFloat(value.asText());
            case DOUBLE -> Double.parseDouble(value.asText());
            case DECIMAL -> DecimalData.fromBigDecimal(
                    new BigDecimal(value.asText()),
                    ((DecimalType) type).getPrecision(),
                    ((DecimalType) type).getScale());
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE -> TimestampData.fromEpochMillis(value.asLong());
            default -> StringData.fromString(value.asText());
        };
    }

    private void show(RowData row) {
        ArrayNode shown = rows.addArray();
        for (int index = 0; index < output.getFieldCount(); index++) {
            LogicalType type = output.getTypeAt(index);
            Object field = RowData.createFieldGetter(type.copy(true), index).getFieldOrNull(row);
            if (field instanceof TimestampData moment) {
                shown.add(moment.getMillisecond());
            } else if (field == null || field instanceof Boolean) {
                shown.addPOJO(field);
            } else if (field instanceof Double || field instanceof Float) {
                shown.add(field.toString());
            } else if (field instanceof Number number) {
                shown.add(number.longValue());
            } else {
                shown.add(field.toString());
            }
        }
    }
}
