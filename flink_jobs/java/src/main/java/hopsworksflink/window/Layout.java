package hopsworksflink.window;

import java.io.Serializable;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
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
    private static final int LONGEST = 20_000;

    /**
     * One aggregate: a function over a column of the events; {@code COUNT} over none counts events.
     *
     * @param of what the column holds, in words that no other column has.
     * @param panes how far it looks back from the end of a window.
     */
    record Aggregate(Function function, String column, String of, long panes) implements Serializable {}

    private final Counts events = new Counts(Counts.EVENTS);
    private final Cell[] cells;
    /** Places of the cells of each aggregate: the first one gives its value, the others have their part in it. */
    private final int[][] ofAggregate;

    private final Function[] functions;
    private final LogicalType[] results;
    private final Form.Part[] parts;
    /** Panes that aggregates look back at, the most first, and which of them is that of each aggregate. */
    private final long[] lengths;

    private final int[] lengthOf;

    /** Throws {@link IllegalArgumentException} for a function that its column's type does not have. */
    Layout(RowType input, List<Aggregate> aggregates) {
        lengths = aggregates.stream()
                .map(Aggregate::panes)
                .sorted(Comparator.reverseOrder())
                .distinct()
                .mapToLong(length -> length)
                .toArray();
        lengthOf = aggregates.stream()
                .mapToInt(aggregate -> Arrays.stream(lengths).boxed().toList().indexOf(aggregate.panes()))
                .toArray();
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
            String of = ": " + told(aggregate.of());
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

    /** The words, or a digest of them: a savepoint takes 65,535 bytes of a text, and a character up to three. */
    private static String told(String words) {
        if (words.length() < LONGEST) {
            return words;
        }
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(words.getBytes(StandardCharsets.UTF_8));
            return new BigInteger(1, digest).toString(16);
        } catch (NoSuchAlgorithmException missing) {
            throw new IllegalStateException(missing);
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
        return new Form(windows(shape), lengths.length, parts);
    }

    /** Windows and what is looked back at, for people and to tell them apart. */
    String windows(Shape shape) {
        boolean isWhole = lengths.length == 1 && lengths[0] == shape.panes();
        return isWhole ? shape.toString() : shape + ", of which the last " + Arrays.toString(lengths);
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
     * Adds a pane to the totals of the lengths that reach back to it from a window.
     *
     * @param total to point to totals with.
     */
    void addToTotals(Pane from, long number, Panes panes, Shape shape, long window, Pane total) {
        for (int length = 0; length < lengths.length; length++) {
            if (number >= shape.firstPane(window, lengths[length])) {
                panes.total(length, total);
                merge(from, total);
            }
        }
    }

    /**
     * Takes out of the totals of the panes up to a place those that a window does not reach back to.
     *
     * @param before the window that the totals are of.
     * @param pane to point to panes with.
     * @param total to point to totals with.
     */
    void leave(Panes panes, int end, Shape shape, long before, long window, Pane pane, Pane total) {
        for (int length = 0; length < lengths.length; length++) {
            int from = panes.before(shape.firstPane(before, lengths[length]));
            int over = panes.before(shape.firstPane(window, lengths[length]));
            if (over == end) {
                panes.clearTotal(length);
            } else if (over > from) {
                panes.total(length, total);
                leave(panes, total, from, over, end, pane);
            }
        }
    }

    private void leave(Panes panes, Pane total, int from, int over, int end, Pane pane) {
        for (Cell cell : cells) {
            boolean isExact = true;
            for (int at = from; at < over && isExact; at++) {
                panes.get(at, pane);
                isExact = cell.remove(pane, total);
            }
            if (!isExact) {
                cell.clear(total);
                for (int at = over; at < end; at++) {
                    panes.get(at, pane);
                    cell.merge(pane, total);
                }
            }
        }
    }

    long events(Pane pane) {
        return events.of(pane);
    }

    /**
     * Sets the fields of a row from one on to the values of the aggregates over the totals: null, or a count of 0, where
     * a length has no event, and null for what is not known in all of its panes.
     *
     * @param total to point to totals with.
     */
    void results(Panes panes, Shape shape, long window, GenericRowData row, int field, Pane total) {
        for (int index = 0; index < functions.length; index++) {
            panes.total(lengthOf[index], total);
            long first = shape.firstPane(window, lengths[lengthOf[index]]);
            Object value = null;
            if (!panes.isTotalled(lengthOf[index])) {
                value = functions[index] == Function.COUNT ? 0L : null;
            } else if (panes.unknown == null || isKnown(ofAggregate[index], panes.unknown, first)) {
                value = cells[ofAggregate[index][0]].result(functions[index], total);
            }
            row.setField(field + index, value);
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
