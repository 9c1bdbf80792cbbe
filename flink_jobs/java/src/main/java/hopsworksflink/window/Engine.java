package hopsworksflink.window;

import hopsworksflink.join.AsOfJoin;
import hopsworksflink.join.ByKey;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import java.util.stream.IntStream;
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
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.BooleanType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.TimestampType;
import org.apache.flink.table.types.logical.utils.LogicalTypeUtils;
import org.apache.flink.table.types.utils.TypeConversions;

/**
 * The steps of a plan that are not SQL (see pipeline/sql/native.py and joins.py): each reads a view and makes another one. Flink
 * keeps everything that a view is made of, so whoever reads it shares it.
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
     * @param step JSON: {@code {"share": …}}, {@code {"join": …}} or {@code {"windows": …}}.
     */
    public static void run(StreamTableEnvironment tables, String step) throws Exception {
        JsonNode parsed = JSON.readTree(step);
        Engine engine = new Engine(tables);
        if (parsed.has("share")) {
            engine.share(parsed.get("share"));
        } else if (parsed.has("join")) {
            engine.join(parsed.get("join"));
        } else {
            engine.windows(parsed.get("windows"));
        }
    }

    /** A view that is read once for all who read it: else each step of windows would begin at the source. */
    private void share(JsonNode step) {
        String time = step.get("event_time").asText();
        Table table = tables.from(quoted(step.get("table").asText()));
        Schema schema = schema(table).watermark(time, "SOURCE_WATERMARK()").build();
        tables.createTemporaryView(quoted(step.get("view").asText()), rows(table), schema);
    }

    /** A view of the events with columns of the versions that held at their times. */
    private void join(JsonNode step) {
        Table events = tables.from(quoted(step.get("events").asText()));
        Table versions = tables.from(quoted(step.get("versions").asText()));
        RowType event = (RowType) type(events).getLogicalType();
        RowType version = (RowType) type(versions).getLogicalType();
        List<RowType.RowField> by = new ArrayList<>();
        step.get("by").forEach(name -> by.add(event.getFields().get(event.getFieldIndex(name.asText()))));
        // The key's columns are the first ones of a version; time and tombstone are the last ones.
        int keys = by.size();
        int from = version.getFieldCount() - 2;
        List<RowType.RowField> joined = new ArrayList<>(version.getFields().subList(keys, from));
        joined.add(new RowType.RowField(step.get("told").asText(), new BooleanType(false)));
        List<RowType.RowField> all = new ArrayList<>(event.getFields());
        all.addAll(joined);
        RowType keyType = new RowType(by);
        RowType output = new RowType(all);
        int[] places = by.stream().mapToInt(field -> event.getFieldIndex(field.getName())).toArray();
        String time = step.get("event_time").asText();
        AsOfJoin operator = new AsOfJoin(
                event,
                new RowType(joined),
                event.getFieldIndex(time),
                getters(version, IntStream.range(keys, from).toArray()),
                from,
                from + 1,
                step.get("keep").asLong());
        String name = step.get("name").asText();
        DataStream<RowData> stream = rows(events)
                .connect(rows(versions))
                .keyBy(
                        new ByKey(keyType, getters(event, places)),
                        new ByKey(keyType, getters(version, IntStream.range(0, keys).toArray())),
                        InternalTypeInfo.of(keyType))
                .transform("Join[" + name + "]", InternalTypeInfo.of(output), operator)
                .uid("join " + name);
        Schema.Builder schema = Schema.newBuilder();
        output.getFields().forEach(
                field -> schema.column(field.getName(), TypeConversions.fromLogicalToDataType(field.getType())));
        schema.watermark(time, "SOURCE_WATERMARK()");
        tables.createTemporaryView(quoted(step.get("view").asText()), stream, schema.build());
    }

    private static RowData.FieldGetter[] getters(RowType type, int[] places) {
        return IntStream.of(places)
                .mapToObj(place -> RowData.createFieldGetter(type.getTypeAt(place), place))
                .toArray(RowData.FieldGetter[]::new);
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
            aggregates.add(new Layout.Aggregate(function, column, one.get("of").asText()));
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
        Schema.Builder schema = Schema.newBuilder();
        output.getFields().forEach(
                field -> schema.column(field.getName(), TypeConversions.fromLogicalToDataType(field.getType())));
        tables.createTemporaryView(quoted(step.get("view").asText()), stream, schema.build());
    }

    private static DataStream<RowData> windows(
            DataStream<RowData> events, RowType keyType, Layout layout, Shape shape, RowType output, String name) {
        InternalTypeInfo<RowData> keyInfo = InternalTypeInfo.of(keyType);
        // State is found again by what it is, not by the feature group that comes first.
        String of = keyType.getFieldNames() + " " + shape;
        TypeInformation<Tuple2<RowData, Panes>> combined =
                new TupleTypeInfo<>(keyInfo, new PanesType(new PanesSerializer(layout.form(shape))));
        DataStream<Tuple2<RowData, Panes>> combiner = chained(
                events.transform("Combine[" + name + "]", combined, new Combiner(keyType, layout, shape))
                        .uid("combine " + of));
        return chained(combiner
                .keyBy(new OfKey(), keyInfo)
                .transform("Windows[" + name + "]", InternalTypeInfo.of(output), new Windows(layout, shape))
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
