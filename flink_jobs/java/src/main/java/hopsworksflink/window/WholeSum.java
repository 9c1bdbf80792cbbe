package hopsworksflink.window;

import java.math.BigDecimal;
import java.math.BigInteger;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.DecimalType;

/** Sum of whole numbers: bigints, of which SQL takes care that they do not overflow, or the digits of decimals. */
final class WholeSum extends Cell {
    private static final long serialVersionUID = 1L;

    private final int column;
    private final DecimalType type;

    /** @param type of decimals; null: the column is a bigint. */
    WholeSum(int column, DecimalType type) {
        this.column = column;
        this.type = type;
    }

    /** The number of values, and 64 or 128 bits. */
    @Override
    int words() {
        return type == null ? 2 : 3;
    }

    @Override
    void add(RowData event, Pane pane) {
        if (event.isNullAt(column)) {
            return;
        }
        int at = pane.word + word;
        pane.words[at]++;
        if (type == null) {
            pane.words[at + 1] += event.getLong(column);
            return;
        }
        DecimalData value = event.getDecimal(column, type.getPrecision(), type.getScale());
        if (value.isCompact()) {
            long digits = value.toUnscaledLong();
            add(pane.words, at + 1, digits, digits >> 63);
        } else {
            BigInteger digits = value.toBigDecimal().unscaledValue();
            add(pane.words, at + 1, digits.longValue(), digits.shiftRight(64).longValue());
        }
    }

    @Override
    void merge(Pane from, Pane into) {
        int source = from.word + word;
        int at = into.word + word;
        into.words[at] += from.words[source];
        if (type == null) {
            into.words[at + 1] += from.words[source + 1];
        } else {
            add(into.words, at + 1, from.words[source + 1], from.words[source + 2]);
        }
    }

    @Override
    boolean remove(Pane from, Pane total) {
        int source = from.word + word;
        int at = total.word + word;
        total.words[at] -= from.words[source];
        Fixed.subtract(from.words, source + 1, total.words, at + 1, words() - 1);
        return true;
    }

    private static void add(long[] words, int at, long low, long high) {
        long sum = words[at] + low;
        words[at + 1] += high + (Long.compareUnsigned(sum, low) < 0 ? 1 : 0);
        words[at] = sum;
    }

    @Override
    Object result(Function function, Pane pane) {
        int at = pane.word + word;
        if (pane.words[at] == 0) {
            return null;
        }
        if (type == null) {
            return pane.words[at + 1];
        }
        BigInteger digits = Fixed.number(pane.words, at + 1, 2);
        return DecimalData.fromBigDecimal(
                new BigDecimal(digits, type.getScale()), DecimalType.MAX_PRECISION, type.getScale());
    }

    @Override
    public String toString() {
        return type == null ? "sum of BIGINT" : "sum of " + type.copy(true);
    }
}
