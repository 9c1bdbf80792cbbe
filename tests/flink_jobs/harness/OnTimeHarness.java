package hopsworksflink.window;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;

/**
 * Runs what leaves out late events in Flink's own harness, or, with {"late": true}, what leaves out all others. One request
 * a line: {"actions"}. An action is {"event": [task, ms or null]}, {"watermark": [task, ms]}, {"idle": [task]}, or
 * {"savepoint": tasks}, after which it goes on in so many tasks. The answer: {"events": [ms or null]}, those that go on; late ones less the watermark.
 */
public final class OnTimeHarness {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int KEY_GROUPS = 8;

    private final boolean late;
    private final List<OneInputStreamOperatorTestHarness<RowData, RowData>> tasks = new ArrayList<>();

    private OnTimeHarness(boolean late) {
        this.late = late;
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            JsonNode request = JSON.readTree(line);
            new OnTimeHarness(request.path("late").asBoolean())
                    .run(request.get("actions"), answer.putArray("events"));
            System.out.println(answer);
        }
    }

    private void run(JsonNode actions, ArrayNode events) throws Exception {
        open(null, 1, 1);
        for (JsonNode action : actions) {
            if (action.has("savepoint")) {
                savepoint(action.get("savepoint").asInt());
                continue;
            }
            JsonNode of = action.elements().next();
            var task = tasks.get(of.get(0).asInt());
            if (action.has("watermark")) {
                task.processWatermark(new Watermark(of.get(1).asLong()));
            } else if (action.has("idle")) {
                task.processWatermarkStatus(WatermarkStatus.IDLE);
            } else {
                Object time = of.get(1).isNull() ? null : TimestampData.fromEpochMillis(of.get(1).asLong());
                task.processElement(new StreamRecord<>(GenericRowData.of("event", time)));
            }
            for (Object one = task.getOutput().poll(); one != null; one = task.getOutput().poll()) {
                if (one instanceof StreamRecord<?> record) {
                    RowData row = (RowData) record.getValue();
                    Long time = row.isNullAt(1) ? null : (Long) row.getTimestamp(1, 3).getMillisecond();
                    events.add(late ? (Long) (time - row.getLong(2)) : time);
                }
            }
        }
    }

    private void open(OperatorSubtaskState state, int before, int now) throws Exception {
        tasks.clear();
        for (int task = 0; task < now; task++) {
            var harness = new OneInputStreamOperatorTestHarness<RowData, RowData>(
                    late ? new Late(1) : new OnTime(1), KEY_GROUPS, now, task);
            harness.setup();
            if (state != null) {
                harness.initializeState(AbstractStreamOperatorTestHarness.repartitionOperatorState(
                        state, KEY_GROUPS, before, now, task));
            }
            harness.open();
            tasks.add(harness);
        }
    }

    private void savepoint(int now) throws Exception {
        OperatorSubtaskState[] states = new OperatorSubtaskState[tasks.size()];
        for (int task = 0; task < states.length; task++) {
            states[task] = tasks.get(task).snapshot(1, 1);
            tasks.get(task).close();
        }
        open(AbstractStreamOperatorTestHarness.repackageState(states), states.length, now);
    }
}
