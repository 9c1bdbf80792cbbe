package hopsworksflink.join;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.BooleanType;
import org.apache.flink.table.types.logical.RowType;

/** A join of events with the versions of a topic, made of its operators. */
public final class Joins {
    /** What stands behind the columns of a version: since when it holds, whether it is a tombstone, and its place. */
    private static final int BEHIND = 4;

    private final String name;
    private final RowType event;
    private final RowType version;
    private final RowType joined;
    private final RowType key;
    private final int[] by;
    private final int from;

    /**
     * @param by the events' columns; the same ones are the first of a version.
     * @param told name of the column that says whether an event has a version.
     */
    public Joins(String name, RowType event, RowType version, List<String> by, String told) {
        this.name = name;
        this.event = event;
        this.version = version;
        this.by = by.stream().mapToInt(event::getFieldIndex).toArray();
        from = version.getFieldCount() - BEHIND;
        List<RowType.RowField> fields = new ArrayList<>(version.getFields().subList(by.size(), from));
        fields.add(new RowType.RowField(told, new BooleanType(false)));
        joined = new RowType(fields);
        key = new RowType(IntStream.of(this.by).mapToObj(event.getFields()::get).toList());
    }

    /** The events' columns, and those that they get. */
    public RowType output() {
        List<RowType.RowField> fields = new ArrayList<>(event.getFields());
        fields.addAll(joined.getFields());
        return new RowType(fields);
    }

    /**
     * @param topic options of the table of the versions' topic.
     * @param time the events' column with their time.
     * @param keep as for {@link AsOfJoin}.
     */
    public DataStream<RowData> of(
            DataStream<RowData> events, DataStream<RowData> versions, Map<String, String> topic, String time, long keep) {
        int[] first = IntStream.range(0, by.length).toArray();
        int[] needed = IntStream.concat(IntStream.of(first), IntStream.of(from)).toArray();
        // Kafka's classes are there when the job runs, not while it is built.
        Map<String, String> options = new HashMap<>(topic);
        DataStream<RowData> read = versions.transform(
                        "versions of " + name,
                        InternalTypeInfo.of(version),
                        new CatchUp(() -> TopicEnds.of(options), needed, from + 2))
                .uid("versions " + name)
                .setParallelism(1)
                .setMaxParallelism(1);
        AsOfJoin operator = new AsOfJoin(
                event,
                joined,
                event.getFieldIndex(time),
                getters(version, IntStream.range(by.length, from).toArray()),
                from,
                from + 1,
                keep);
        return events.connect(read)
                .keyBy(
                        new ByKey(key, getters(event, by)),
                        new ByKey(key, getters(version, first)),
                        InternalTypeInfo.of(key))
                .transform("with " + name, InternalTypeInfo.of(output()), operator)
                .uid("join " + name);
    }

    private static RowData.FieldGetter[] getters(RowType type, int[] places) {
        return IntStream.of(places)
                .mapToObj(place -> RowData.createFieldGetter(type.getTypeAt(place), place))
                .toArray(RowData.FieldGetter[]::new);
    }
}
