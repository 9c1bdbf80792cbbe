package hopsworksflink.window;

import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.binary.BinaryStringData;
import org.apache.flink.table.runtime.typeutils.InternalSerializers;
import org.apache.flink.table.types.logical.LogicalType;

/** The least or greatest value: of numbers as a word, of decimals and texts as an object. */
final class Extreme extends Cell {
    private static final long serialVersionUID = 1L;

    private final int column;
    private final LogicalType type;
    private final boolean greatest;
    private final boolean isObject;
    private final RowData.FieldGetter getter;

    /** Throws {@link IllegalArgumentException} for a type that is not compared. */
    Extreme(int column, LogicalType type, boolean greatest) {
        this.column = column;
        this.type = type;
        this.greatest = greatest;
        isObject = switch (type.getTypeRoot()) {
            case TINYINT, SMALLINT, INTEGER, BIGINT, DATE, FLOAT, DOUBLE -> false;
            case DECIMAL, VARCHAR -> true;
            default -> throw new IllegalArgumentException("no least or greatest value of " + type);
        };
        getter = isObject ? RowData.createFieldGetter(type, column) : null;
    }

    /** Whether there is a value, and the value. */
    @Override
    int words() {
        return isObject ? 0 : 2;
    }

    @Override
    TypeSerializer<?>[] objects() {
        return isObject ? new TypeSerializer<?>[] {InternalSerializers.create(type)} : super.objects();
    }

    @Override
    void add(RowData event, Pane pane) {
        if (event.isNullAt(column)) {
            return;
        }
        if (isObject) {
            offer(getter.getFieldOrNull(event), pane, true);
            return;
        }
        switch (type.getTypeRoot()) {
            case TINYINT -> offer(event.getByte(column), pane);
            case SMALLINT -> offer(event.getShort(column), pane);
            case BIGINT -> offer(event.getLong(column), pane);
            case FLOAT -> offer(sortable(event.getFloat(column)), pane);
            case DOUBLE -> offer(sortable(event.getDouble(column)), pane);
            default -> offer(event.getInt(column), pane);
        }
    }

    /** Bits that compare as whole numbers like the double does; the way back is the same. */
    private static long sortable(double value) {
        return flip(Double.doubleToRawLongBits(value));
    }

    private static long flip(long bits) {
        return bits ^ bits >> 63 & Long.MAX_VALUE;
    }

    private void offer(long value, Pane pane) {
        int at = pane.word + word;
        long present = pane.words[at + 1];
        if (pane.words[at] == 0 || (greatest ? value > present : value < present)) {
            pane.words[at] = 1;
            pane.words[at + 1] = value;
        }
    }

    /** @param reused whether the value's bytes are those of a row, which others will fill again. */
    private void offer(Object value, Pane pane, boolean reused) {
        Object present = pane.object(object);
        if (present != null) {
            int order = compare(value, present);
            if (greatest ? order <= 0 : order >= 0) {
                return;
            }
        }
        pane.set(object, reused && value instanceof BinaryStringData text ? text.copy() : value);
    }

    private static int compare(Object one, Object other) {
        return one instanceof DecimalData number
                ? number.compareTo((DecimalData) other)
                : ((StringData) one).compareTo((StringData) other);
    }

    @Override
    void merge(Pane from, Pane into) {
        if (isObject) {
            Object value = from.object(object);
            if (value != null) {
                offer(value, into, false);
            }
        } else if (from.words[from.word + word] != 0) {
            offer(from.words[from.word + word + 1], into);
        }
    }

    /** What is lost with a pane is only known where that has not the extreme. */
    @Override
    boolean remove(Pane from, Pane total) {
        if (isObject) {
            Object value = from.object(object);
            return value == null || compare(value, total.object(object)) != 0;
        }
        int source = from.word + word;
        return from.words[source] == 0 || from.words[source + 1] != total.words[total.word + word + 1];
    }

    @Override
    Object result(Function function, Pane pane) {
        if (isObject) {
            return pane.object(object);
        }
        int at = pane.word + word;
        if (pane.words[at] == 0) {
            return null;
        }
        long value = pane.words[at + 1];
        return switch (type.getTypeRoot()) {
            case TINYINT -> (byte) value;
            case SMALLINT -> (short) value;
            case BIGINT -> value;
            case FLOAT -> (float) Double.longBitsToDouble(flip(value));
            case DOUBLE -> Double.longBitsToDouble(flip(value));
            default -> (int) value;
        };
    }

    @Override
    public String toString() {
        return (greatest ? "max of " : "min of ") + type.copy(true);
    }
}
