package hopsworksflink.window;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.DoubleType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;

/** What is kept in each pane for the aggregates of a feature group, and where. Aggregates of one column share it. */
final class Layout implements Serializable {
    private static final long serialVersionUID = 1L;

    /** One aggregate: a function over a column of the events; {@code COUNT} over none counts events. */
    record Aggregate(Function function, String column) implements Serializable {}

    private final Counts events = new Counts(Counts.EVENTS);
    private final Cell[] cells;
    private final Cell[] ofAggregate;
    private final Function[] functions;
    private final LogicalType[] results;
    private final TypeSerializer<?>[] serializers;
    private final int words;

    /** Throws {@link IllegalArgumentException} for a function that its column's type does not have. */
    Layout(RowType input, List<Aggregate> aggregates) {
        Map<String, Cell> found = new LinkedHashMap<>();
        found.put("events", events);
        ofAggregate = new Cell[aggregates.size()];
        functions = new Function[aggregates.size()];
        results = new LogicalType[aggregates.size()];
        for (int index = 0; index < functions.length; index++) {
            Aggregate aggregate = aggregates.get(index);
            functions[index] = aggregate.function();
            if (aggregate.column() == null) {
                ofAggregate[index] = events;
                results[index] = new BigIntType(false);
                continue;
            }
            int column = input.getFieldIndex(aggregate.column());
            LogicalType type = input.getTypeAt(column);
            boolean squares = aggregates.stream()
                    .anyMatch(other -> aggregate.column().equals(other.column()) && other.function().isDeviation());
            Cell cell = cell(aggregate.function(), column, type, squares);
            ofAggregate[index] = found.computeIfAbsent(cell + " at " + column, name -> cell);
            results[index] = result(aggregate.function(), type);
        }
        cells = found.values().toArray(new Cell[0]);
        List<TypeSerializer<?>> all = new ArrayList<>();
        int word = 0;
        for (Cell cell : cells) {
            cell.word = word;
            cell.object = all.size();
            word += cell.words();
            all.addAll(List.of(cell.objects()));
        }
        words = word;
        serializers = all.toArray(new TypeSerializer<?>[0]);
    }

    private static Cell cell(Function function, int column, LogicalType type, boolean squares) {
        LogicalTypeRoot root = type.getTypeRoot();
        if (function == Function.COUNT) {
            return new Counts(column);
        }
        if (function == Function.MIN || function == Function.MAX) {
            return new Extreme(column, type, function == Function.MAX);
        }
        if (root == LogicalTypeRoot.DOUBLE) {
            return new Moments(column, squares);
        }
        if (function == Function.SUM && (root == LogicalTypeRoot.BIGINT || root == LogicalTypeRoot.DECIMAL)) {
            return new WholeSum(column, type instanceof DecimalType decimal ? decimal : null);
        }
        throw new IllegalArgumentException("no " + function + " of " + type + ": cast it to DOUBLE or BIGINT");
    }

    private static LogicalType result(Function function, LogicalType type) {
        return switch (function) {
            case COUNT -> new BigIntType(false);
            case MIN, MAX -> type.copy(true);
            case SUM -> type instanceof DecimalType decimal
                    ? new DecimalType(true, DecimalType.MAX_PRECISION, decimal.getScale())
                    : type.copy(true);
            default -> new DoubleType();
        };
    }

    int words() {
        return words;
    }

    int objects() {
        return serializers.length;
    }

    TypeSerializer<?>[] serializers() {
        return serializers;
    }

    /** Types of the aggregates, in their order. */
    LogicalType[] results() {
        return results;
    }

    void add(RowData event, Pane pane) {
        for (Cell cell : cells) {
            cell.add(event, pane);
        }
    }

    void merge(Pane from, Pane into) {
        for (Cell cell : cells) {
            cell.merge(from, into);
        }
    }

    long events(Pane pane) {
        return events.of(pane);
    }

    /** Sets the fields of a row from one on to the values of the aggregates. */
    void results(Pane pane, GenericRowData row, int field) {
        for (int index = 0; index < functions.length; index++) {
            row.setField(field + index, ofAggregate[index].result(functions[index], pane));
        }
    }

    /** For people, and to tell layouts apart. */
    @Override
    public String toString() {
        List<String> names = new ArrayList<>();
        for (Cell cell : cells) {
            names.add(cell.toString());
        }
        return String.join(", ", names);
    }
}
