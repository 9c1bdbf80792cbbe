import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import hopsworksflink.files.FilesFormat;
import hopsworksflink.format.Column;
import hopsworksflink.format.EventsSchema;
import hopsworksflink.format.Framing;
import hopsworksflink.format.Registry;
import hopsworksflink.format.Times;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.core.fs.Path;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.CatalogTable;
import org.apache.flink.table.catalog.ObjectIdentifier;
import org.apache.flink.table.catalog.ResolvedCatalogTable;
import org.apache.flink.table.catalog.ResolvedSchema;
import org.apache.flink.table.connector.source.ScanTableSource;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.runtime.connector.source.ScanRuntimeProviderContext;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.flink.util.UserCodeClassLoader;

/**
 * Decodes what it is asked to, one request a line: {"encoding", "columns": [[name, KIND, precision, scale, {what the type does not say}]], "values": [base64],
 * "appended"}.
 * Or reads a file: {"encoding", "columns", "file", "header", "splits", "skip"}. Or looks at a table: {"options"}.
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
        return request.has("options") ? table(request) : request.has("file") ? read(request) : decode(request);
    }

    /** Makes what reads a table, as the planner does; the answer is empty, or says why that cannot be. */
    private static ArrayNode table(JsonNode request) {
        Map<String, String> options = new HashMap<>();
        request.get("options").fields().forEachRemaining(one -> options.put(one.getKey(), one.getValue().asText()));
        ResolvedSchema columns =
                ResolvedSchema.of(org.apache.flink.table.catalog.Column.physical("shop", DataTypes.STRING()));
        CatalogTable table =
                CatalogTable.newBuilder()
                        .schema(Schema.newBuilder().fromResolvedSchema(columns).build())
                        .options(options)
                        .build();
        ScanTableSource source =
                (ScanTableSource) FactoryUtil.createDynamicTableSource(
                        null,
                        ObjectIdentifier.of("c", "d", "t"),
                        new ResolvedCatalogTable(table, columns),
                        Map.of(),
                        new Configuration(),
                        Decode.class.getClassLoader(),
                        true);
        ArrayNode answers = JSON.createArrayNode();
        try {
            source.getScanRuntimeProvider(ScanRuntimeProviderContext.INSTANCE);
        } catch (ValidationException problem) {
            answers.addObject().put("refused", problem.getMessage());
        }
        return answers;
    }

    private static List<Column> columns(JsonNode request) {
        List<Column> columns = new ArrayList<>();
        for (JsonNode one : request.get("columns")) {
            Column.Kind kind = Column.Kind.valueOf(one.get(1).asText());
            columns.add(
                    new Column(
                            one.get(0).asText(),
                            kind,
                            one.get(2).asInt(),
                            one.get(3).asInt(),
                            Column.path(one.get(0).asText(), one.get(4)),
                            Times.of(one.get(4))));
        }
        return columns;
    }

    /** Reads a file as a job does: in as many splits as asked for, each from the row on where it was interrupted. */
    private static ArrayNode read(JsonNode request) throws Exception {
        List<Column> columns = columns(request);
        FilesFormat.Encoding encoding =
                FilesFormat.Encoding.valueOf(request.get("encoding").asText().toUpperCase(Locale.ROOT));
        FilesFormat format =
                new FilesFormat(encoding, request.get("header").asBoolean(), columns.toArray(new Column[0]), null);
        Path path = new Path(request.get("file").asText());
        long size = path.getFileSystem().getFileStatus(path).getLen();
        long skipped = request.get("skip").asLong();
        int splits = request.get("splits").asInt();
        ArrayNode answers = JSON.createArrayNode();
        for (int split = 0; split < splits; split++) {
            long begin = size * split / splits;
            CheckpointedPosition position = new CheckpointedPosition(CheckpointedPosition.NO_OFFSET, skipped);
            FileSourceSplit part =
                    new FileSourceSplit(
                            "s", path, begin, size * (split + 1) / splits - begin, 0, size, new String[0], position);
            try (BulkFormat.Reader<RowData> reader = format.restoreReader(new Configuration(), part)) {
                for (var batch = reader.readBatch(); batch != null; batch = reader.readBatch()) {
                    for (var one = batch.next(); one != null; one = batch.next()) {
                        answers.addObject().set("row", shown((GenericRowData) one.getRecord(), columns));
                    }
                    batch.releaseBatch();
                }
            } catch (SuppressRestartsException problem) {
                answers.addObject().put("refused", problem.getCause().getMessage());
            }
        }
        return answers;
    }

    private static ArrayNode decode(JsonNode request) throws Exception {
        List<Column> columns = columns(request);
        String encoding = request.get("encoding").asText();
        Set<Long> ids = new HashSet<>();
        request.path("ids").forEach(id -> ids.add(id.asLong()));
        Framing framing =
                new Framing(
                        request.path("framed").asBoolean(),
                        ids,
                        request.hasNonNull("written") ? request.get("written").toString() : null,
                        request.hasNonNull("registry")
                                ? new Registry(
                                        request.get("registry").asText(),
                                        request.path("authorization").asText(null),
                                        request.path("ca").asText(null))
                                : null,
                        request.hasNonNull("message") ? request.get("message").toString() : null);
        int required = columns.size() - request.get("appended").asInt();
        EventsSchema schema =
                new EventsSchema(encoding, columns.toArray(new Column[0]), required, framing, request.hasNonNull("unwrap"), true, false, null, null);
        schema.open(new Context());
        ArrayNode answers = JSON.createArrayNode();
        for (JsonNode value : request.get("values")) {
            List<RowData> rows = new ArrayList<>();
            try {
                schema.deserialize(Base64.getDecoder().decode(value.asText()), new ListCollector<>(rows));
            } catch (UncheckedIOException failed) {
                answers.addObject().put("failed", failed.getCause().getMessage());
                continue;
            }
            if (rows.isEmpty()) {
                answers.addObject();
                continue;
            }
            GenericRowData row = (GenericRowData) rows.get(0);
            Object problem = row.getField(columns.size() + 1);
            ObjectNode answer = answers.addObject();
            if (problem != null) {
                answer.put("reason", problem.toString());
                continue;
            }
            answer.set("row", shown(row, columns));
        }
        return answers;
    }

    private static ObjectNode shown(GenericRowData row, List<Column> columns) {
        ObjectNode shown = JSON.createObjectNode();
        for (int index = 0; index < columns.size(); index++) {
            Object field = row.getField(index);
            shown.put(columns.get(index).name(), field == null ? null : text(field, columns.get(index)));
        }
        return shown;
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
