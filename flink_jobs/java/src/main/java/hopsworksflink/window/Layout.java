package hopsworksflink.window;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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

    /**
     * One aggregate: a function over a column of the events; {@code COUNT} over none counts events.
     *
     * @param of what the column holds, in words that no other column has.
     */
    record Aggregate(Function function, String column, String of) implements Serializable {}

    private final Counts events = new Counts(Counts.EVENTS);
    private final Cell[] cells;
    /** Places of the cells of each aggregate: the first one gives its value, the others have their part in it. */
    private final int[][] ofAggregate;

    private final Function[] functions;
    private final LogicalType[] results;
    private final Form.Part[] parts;

    /** Throws {@link IllegalArgumentException} for a function that its column's type does not have. */
    Layout(RowType input, List<Aggregate> aggregates) {
        Map<String, Cell> found = new LinkedHashMap<>();
        found.put("events", events);
        ofAggregate = new int[aggregates.size()][];
        functions = new Function[aggregates.size()];
        results = new LogicalType[aggregates.size()];
        for (int index = 0; index < functions.length; index++) {
            Aggregate aggregate = aggregates.get(index);
            functions[index] = aggregate.function();
            if (aggregate.column() == null) {
                ofAggregate[index] = new int[] {0};
                results[index] = new BigIntType();
                continue;
            }
            int column = input.getFieldIndex(aggregate.column());
            LogicalType type = input.getTypeAt(column);
            String of = ": " + aggregate.of();
            boolean squared = aggregates.stream()
                    .anyMatch(other -> aggregate.column().equals(other.column()) && other.function().isDeviation());
            Squares squares = squared && type.is(LogicalTypeRoot.DOUBLE) ? new Squares() : null;
            Cell cell = cell(aggregate.function(), column, type, squares);
            boolean isNew = found.putIfAbsent(cell + of, cell) == null;
            if (isNew && cell instanceof Moments && squares != null) {
                found.put(squares + of, squares);
            }
            List<String> places = List.copyOf(found.keySet());
            int at = places.indexOf(cell + of);
            ofAggregate[index] =
                    aggregate.function().isDeviation() ? new int[] {at, places.indexOf(squares + of)} : new int[] {at};
            results[index] = result(aggregate.function(), type);
        }
        cells = found.values().toArray(new Cell[0]);
        parts = new Form.Part[cells.length];
        List<String> meanings = List.copyOf(found.keySet());
        int word = 0;
        int object = 0;
        for (int index = 0; index < cells.length; index++) {
            Cell cell = cells[index];
            cell.word = word;
            cell.object = object;
            parts[index] = new Form.Part(meanings.get(index), cell.words(), cell.objects());
            word += cell.words();
            object += cell.objects().length;
        }
    }

    private static Cell cell(Function function, int column, LogicalType type, Squares squares) {
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
            case COUNT -> new BigIntType();
            case MIN, MAX -> type.copy(true);
            case SUM -> type instanceof DecimalType decimal
                    ? new DecimalType(true, DecimalType.MAX_PRECISION, decimal.getScale())
                    : type.copy(true);
            default -> new DoubleType();
        };
    }

    /** The form of panes of windows. */
    Form form(Shape shape) {
        return new Form(shape.toString(), parts);
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

    /**
     * Takes the first panes out of the total of those up to a place.
     *
     * @param pane to point to panes with.
     */
    void leave(Panes panes, int number, int end, Pane pane) {
        for (Cell cell : cells) {
            boolean isExact = true;
            for (int at = 0; at < number && isExact; at++) {
                panes.get(at, pane);
                isExact = cell.remove(pane, panes.total);
            }
            if (!isExact) {
                cell.clear(panes.total);
                for (int at = number; at < end; at++) {
                    panes.get(at, pane);
                    cell.merge(pane, panes.total);
                }
            }
        }
    }

    long events(Pane pane) {
        return events.of(pane);
    }

    /**
     * Sets the fields of a row from one on to the values of the aggregates over the total.
     *
     * @param first pane of the window; what is not known in it has no value.
     */
    void results(Panes panes, long first, GenericRowData row, int field) {
        for (int index = 0; index < functions.length; index++) {
            boolean isKnown = panes.unknown == null || isKnown(ofAggregate[index], panes.unknown, first);
            Cell cell = cells[ofAggregate[index][0]];
            row.setField(field + index, isKnown ? cell.result(functions[index], panes.total) : null);
        }
    }

    private static boolean isKnown(int[] parts, long[] unknown, long first) {
        for (int part : parts) {
            if (unknown[part] >= first) {
                return false;
            }
        }
        return true;
    }
}
