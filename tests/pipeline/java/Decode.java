import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import hopsworksflink.format.Column;
import hopsworksflink.format.EventsSchema;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.flink.util.UserCodeClassLoader;

/**
 * Decodes what it is asked to, one request a line: {"encoding", "columns": [[name, KIND, precision, scale]], "values": [base64]}.
 * The answer is a line as well: for each value its row, column to text, or the reason why there is none.
 */
public final class Decode {

    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            System.out.write((answer(JSON.readTree(line)) + "\n").getBytes(StandardCharsets.UTF_8));
            System.out.flush();
        }
    }

    private static ArrayNode answer(JsonNode request) throws Exception {
        List<Column> columns = new ArrayList<>();
        for (JsonNode one : request.get("columns")) {
            Column.Kind kind = Column.Kind.valueOf(one.get(1).asText());
            boolean avro = request.get("encoding").asText().equals("avro");
            columns.add(new Column(one.get(0).asText(), kind, one.get(2).asInt(), one.get(3).asInt(), avro));
        }
        String encoding = request.get("encoding").asText();
        EventsSchema schema = new EventsSchema(encoding, columns.toArray(new Column[0]), true, null);
        schema.open(new Context());
        ArrayNode answers = JSON.createArrayNode();
        for (JsonNode value : request.get("values")) {
            List<RowData> rows = new ArrayList<>();
            schema.deserialize(Base64.getDecoder().decode(value.asText()), new ListCollector<>(rows));
            GenericRowData row = (GenericRowData) rows.get(0);
            Object problem = row.getField(columns.size() + 1);
            ObjectNode answer = answers.addObject();
            if (problem != null) {
                answer.put("reason", problem.toString());
                continue;
            }
            ObjectNode shown = answer.putObject("row");
            for (int index = 0; index < columns.size(); index++) {
                Object field = row.getField(index);
                shown.put(columns.get(index).name(), field == null ? null : text(field, columns.get(index)));
            }
        }
        return answers;
    }

    /** As tests/pipeline/strict_format.py writes it. */
    private static String text(Object value, Column column) {
        switch (column.kind()) {
            case FLOAT:
                return String.format("%016x", Double.doubleToLongBits((double) (float) value));
            case DOUBLE:
                return String.format("%016x", Double.doubleToLongBits((double) value));
            case BINARY:
                return Base64.getEncoder().encodeToString((byte[]) value);
            case DATE:
                return LocalDate.ofEpochDay((int) value).toString();
            case TIMESTAMP:
                if (value instanceof TimestampData moment) {
                    return String.valueOf(moment.getMillisecond() * 1000 + moment.getNanoOfMillisecond() / 1000);
                }
                return value.toString();
            default:
                return value.toString();
        }
    }

    private static final class Context implements DeserializationSchema.InitializationContext {
        @Override
        public MetricGroup getMetricGroup() {
            return new UnregisteredMetricsGroup();
        }

        @Override
        public UserCodeClassLoader getUserCodeClassLoader() {
            return SimpleUserCodeClassLoader.create(Decode.class.getClassLoader());
        }
    }
}
