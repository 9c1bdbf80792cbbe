package hopsworksflink.window;

import hopsworksflink.join.Joins;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.dag.Transformation;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.TupleTypeInfo;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.ChainingStrategy;
import org.apache.flink.streaming.api.transformations.PhysicalTransformation;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.catalog.Column;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.operations.SourceQueryOperation;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.TimestampType;
import org.apache.flink.table.types.logical.utils.LogicalTypeUtils;
import org.apache.flink.table.types.utils.TypeConversions;

/**
 * The steps of a plan that are not SQL (see pipeline/sql: events.py, native.py, joins.py): each reads a view and makes
 * another one. Flink keeps everything that a view is made of, so whoever reads it shares it.
 */
public final class Engine {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final StreamTableEnvironment tables;

    private Engine(StreamTableEnvironment tables) {
        this.tables = tables;
    }

    /**
     * Carry out one step.
     *
     * @param step JSON: {@code {"share": …}}, {@code {"on_time": …}}, {@code {"late": …}},
     *     {@code {"join": …}}, {@code {"sessions": …}} or {@code {"windows": …}}.
     */
    public static void run(StreamTableEnvironment tables, String step) throws Exception {
        JsonNode parsed = JSON.readTree(step);
        Engine engine = new Engine(tables);
        if (parsed.has("share")) {
            engine.share(parsed.get("share"));
        } else if (parsed.has("on_time")) {
            engine.onTime(parsed.get("on_time"));
        } else if (parsed.has("late")) {
            engine.late(parsed.get("late"));
        } else if (parsed.has("join")) {
            engine.join(parsed.get("join"));
        } else if (parsed.has("sessions")) {
            engine.sessions(parsed.get("sessions"));
        } else {
            engine.windows(parsed.get("windows"));
        }
    }

    /** A view that is read once for all who read it: else each step of windows would begin at the source. */
    private void share(JsonNode step) {
        Table table = tables.from(quoted(step.get("table").asText()));
        view(step, rows(table), schema(table));
    }

    /** A view of the events that are not late ({@link OnTime}). */
    private void onTime(JsonNode step) {
        Table table = tables.from(quoted(step.get("table").asText()));
        int time = ((RowType) type(table).getLogicalType()).getFieldIndex(step.get("event_time").asText());
        DataStream<RowData> events = rows(table);
        String name = step.has("key") ? "on time by " + step.get("key").asText() : "on time";
        DataStream<RowData> stream = chained(events.transform(name, events.getType(), new OnTime(time)).uid(name));
        view(step, stream, schema(table));
    }

    /** A view of the events that are late, with the watermark in a last column ({@link Late}). */
    private void late(JsonNode step) {
        Table table = tables.from(quoted(step.get("table").asText()));
        RowType type = (RowType) type(table).getLogicalType();
        int time = type.getFieldIndex(step.get("event_time").asText());
        String watermark = step.get("watermark").asText();
        List<RowType.RowField> fields = new ArrayList<>(type.getFields());
        fields.add(new RowType.RowField(watermark, new BigIntType(false)));
        DataStream<RowData> stream = chained(rows(table)
                .transform("late", InternalTypeInfo.of(new RowType(fields)), new Late(time))
                .uid("late"));
        view(step, stream, schema(table).column(watermark, DataTypes.BIGINT().notNull()));
    }

    /** A view of events for SQL's sessions, whose ends wait for what may still come ({@link AfterTheEnd}). */
    private void sessions(JsonNode step) {
        Table table = tables.from(quoted(step.get("table").asText()));
        DataStream<RowData> events = rows(table);
        String key = step.get("key").asText();
        DataStream<RowData> stream = chained(
                events.transform("sessions by " + key, events.getType(), new AfterTheEnd()).uid("sessions " + key));
        view(step, stream, schema(table));
    }

    /** The view that a step makes of events, with their watermark. */
    private void view(JsonNode step, DataStream<RowData> events, Schema.Builder columns) {
        Schema schema = columns.watermark(step.get("event_time").asText(), "SOURCE_WATERMARK()").build();
        tables.createTemporaryView(quoted(step.get("view").asText()), events, schema);
    }

    /** A view of the events with columns of the versions that held at their times. */
    private void join(JsonNode step) {
        Table events = tables.from(quoted(step.get("events").asText()));
        Table versions = tables.from(quoted(step.get("versions").asText()));
        List<String> by = new ArrayList<>();
        step.get("by").forEach(column -> by.add(column.asText()));
        Joins join = new Joins(
                step.get("name").asText(),
                (RowType) type(events).getLogicalType(),
                (RowType) type(versions).getLogicalType(),
                by,
                step.get("told").asText());
        SourceQueryOperation topic = (SourceQueryOperation)
                tables.from(quoted(step.get("topic").asText())).getQueryOperation();
        String time = step.get("event_time").asText();
        DataStream<RowData> stream = join.of(
                rows(events),
                rows(versions),
                topic.getContextResolvedTable().getTable().getOptions(),
                time,
                step.get("keep").asLong());
        view(step, stream, schema(join.output()));
    }

    private void windows(JsonNode step) {
        Table table = tables.from(quoted(step.get("table").asText()));
        RowType input = (RowType) type(table).getLogicalType();
        Shape shape = new Shape(
                step.get("pane").asLong(),
                step.get("panes").asLong(),
                Shape.Emit.valueOf(step.get("emit").asText()));
        List<RowType.RowField> fields = new ArrayList<>(input.getFields().subList(0, step.get("keys").asInt()));
        RowType keyType = new RowType(List.copyOf(fields));
        List<Layout.Aggregate> aggregates = new ArrayList<>();
        for (JsonNode one : step.get("aggregates")) {
            String column = one.get("column").isNull() ? null : one.get("column").asText();
            Function function = Function.valueOf(one.get("function").asText());
            long panes = one.path("panes").asLong(shape.panes());
            aggregates.add(new Layout.Aggregate(function, column, one.get("of").asText(), panes));
        }
        Layout layout = new Layout(input, aggregates);
        fields.add(new RowType.RowField("window_start", new TimestampType(false, 3)));
        fields.add(new RowType.RowField("window_end", new TimestampType(false, 3)));
        for (int index = 0; index < aggregates.size(); index++) {
            String name = step.get("aggregates").get(index).get("name").asText();
            fields.add(new RowType.RowField(name, layout.results()[index]));
        }
        RowType output = new RowType(fields);
        String name = step.get("name").asText();
        DataStream<RowData> stream = windows(rows(table), keyType, layout, shape, output, name);
        tables.createTemporaryView(quoted(step.get("view").asText()), stream, schema(output).build());
    }

    private static DataStream<RowData> windows(
            DataStream<RowData> events, RowType keyType, Layout layout, Shape shape, RowType output, String name) {
        InternalTypeInfo<RowData> keyInfo = InternalTypeInfo.of(keyType);
        // State is found again by what it is, not by the feature group that comes first.
        String of = keyType.getFieldNames() + " " + layout.windows(shape);
        TypeInformation<Tuple2<RowData, Panes>> combined =
                new TupleTypeInfo<>(keyInfo, new PanesType(new PanesSerializer(layout.form(shape))));
        DataStream<Tuple2<RowData, Panes>> combiner = chained(
                events.transform(name + ", combined", combined, new Combiner(keyType, layout, shape))
                        .uid("combine " + of));
        return chained(combiner
                .keyBy(new OfKey(), keyInfo)
                .transform(name, InternalTypeInfo.of(output), new Windows(layout, shape))
                .uid("windows " + of));
    }

    private static <T> DataStream<T> chained(DataStream<T> stream) {
        Transformation<T> transformation = stream.getTransformation();
        ((PhysicalTransformation<T>) transformation).setChainingStrategy(ChainingStrategy.ALWAYS);
        return stream;
    }

    /** The rows of a table as they are inside Flink, without a conversion. */
    private DataStream<RowData> rows(Table table) {
        return tables.toDataStream(table, type(table).bridgedTo(RowData.class));
    }

    /** The type of a table's rows, in which an event time is a time like any other. */
    private static DataType type(Table table) {
        return DataTypes.ROW(columns(table, DataTypes::FIELD)).notNull();
    }

    private static Schema.Builder schema(Table table) {
        Schema.Builder schema = Schema.newBuilder();
        columns(table, (name, type) -> schema.column(name, type));
        return schema;
    }

    private static Schema.Builder schema(RowType rows) {
        Schema.Builder schema = Schema.newBuilder();
        rows.getFields().forEach(
                field -> schema.column(field.getName(), TypeConversions.fromLogicalToDataType(field.getType())));
        return schema;
    }

    private static <T> List<T> columns(Table table, BiFunction<String, DataType, T> each) {
        List<T> result = new ArrayList<>();
        for (Column column : table.getResolvedSchema().getColumns()) {
            LogicalType type = column.getDataType().getLogicalType();
            result.add(each.apply(column.getName(), TypeConversions.fromLogicalToDataType(
                    LogicalTypeUtils.removeTimeAttributes(type))));
        }
        return result;
    }

    private static String quoted(String name) {
        return "`" + name.replace("`", "``") + "`";
    }

    /** The key of combined events. */
    private static final class OfKey implements KeySelector<Tuple2<RowData, Panes>, RowData> {
        private static final long serialVersionUID = 1L;

        @Override
        public RowData getKey(Tuple2<RowData, Panes> combined) {
            return combined.f0;
        }
    }
}
