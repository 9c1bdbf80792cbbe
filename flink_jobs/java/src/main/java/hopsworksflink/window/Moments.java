package hopsworksflink.window;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.base.BigDecSerializer;
import org.apache.flink.table.data.RowData;

/**
 * Sum of doubles, and deviations with the sum of their squares: exact, so that neither the order of events nor the way in which they were
 * combined changes a bit of a result, and equal numbers have no deviation.
 *
 * <p>Sums are whole numbers of units of 2^-80, sums of squares of 2^-160. A number below 2^62 without digits below
 * 2^-80 fits: prices, distances, rates down to 1e-8 with all their digits. Others are added as {@link BigDecimal},
 * which is as exact, and slow.
 */
final class Moments extends Cell {
    private static final long serialVersionUID = 1L;

    static final int UNIT = 80;
    private static final int LARGEST = 62;
    private static final int SUM_WORDS = 3;

    private final int column;
    private final Squares squares;

    /** @param squares what is kept for deviations; null: there is none among the functions. */
    Moments(int column, Squares squares) {
        this.column = column;
        this.squares = squares;
    }

    /** The number of values, and the sum. */
    @Override
    int words() {
        return 1 + SUM_WORDS;
    }

    /** Sum of the numbers that do not fit. */
    @Override
    TypeSerializer<?>[] objects() {
        return new TypeSerializer<?>[] {BigDecSerializer.INSTANCE};
    }

    @Override
    void add(RowData event, Pane pane) {
        if (event.isNullAt(column)) {
            return;
        }
        double value = event.getDouble(column);
        long bits = Double.doubleToRawLongBits(value);
        int exponent = (int) (bits >>> 52) & 0x7ff;
        if (exponent == 0x7ff) {
            throw new IllegalStateException("Only finite numbers are summed up, not " + value);
        }
        int at = pane.word + word;
        pane.words[at]++;
        long digits = bits & 0xfffffffffffffL;
        if (exponent == 0) {
            exponent = 1;
        } else {
            digits |= 0x10000000000000L;
        }
        if (digits == 0) {
            return;
        }
        int zeros = Long.numberOfTrailingZeros(digits);
        digits >>>= zeros;
        exponent += zeros - 1075;
        if (exponent < -UNIT || exponent + 64 - Long.numberOfLeadingZeros(digits) > LARGEST) {
            addOther(new BigDecimal(value), pane);
            return;
        }
        long signed = bits < 0 ? -digits : digits;
        Fixed.add(pane.words, at + 1, SUM_WORDS, signed, signed >> 63, exponent + UNIT);
        if (squares != null) {
            squares.add(digits, 2 * (exponent + UNIT), pane);
        }
    }

    private void addOther(BigDecimal value, Pane pane) {
        plus(pane, object, value);
        if (squares != null) {
            plus(pane, squares.object, value.multiply(value));
        }
    }

    /** Adds to the sum of numbers that do not fit. */
    static void plus(Pane pane, int object, Object value) {
        if (value != null) {
            Object present = pane.object(object);
            pane.set(object, present == null ? value : ((BigDecimal) present).add((BigDecimal) value));
        }
    }

    @Override
    void merge(Pane from, Pane into) {
        int source = from.word + word;
        int at = into.word + word;
        into.words[at] += from.words[source];
        Fixed.add(from.words, source + 1, into.words, at + 1, SUM_WORDS);
        plus(into, object, from.object(object));
    }

    @Override
    boolean remove(Pane from, Pane total) {
        if (from.object(object) != null) {
            return false;
        }
        int source = from.word + word;
        int at = total.word + word;
        total.words[at] -= from.words[source];
        Fixed.subtract(from.words, source + 1, total.words, at + 1, SUM_WORDS);
        return true;
    }

    @Override
    Object result(Function function, Pane pane) {
        int at = pane.word + word;
        long count = pane.words[at];
        boolean sample = function == Function.STDDEV_SAMP || function == Function.VAR_SAMP;
        if (count == 0 || sample && count == 1) {
            return null;
        }
        BigDecimal others = (BigDecimal) pane.object(object);
        if (!function.isDeviation()) {
            double sum = others == null
                    ? Fixed.nearest(pane.words, at + 1, SUM_WORDS, -UNIT)
                    : units(Fixed.number(pane.words, at + 1, SUM_WORDS), UNIT).add(others).doubleValue();
            return function == Function.AVG ? sum / count : sum;
        }
        long divisor = sample ? count - 1 : count;
        double variance;
        if (others == null) {
            int squared = pane.word + squares.word;
            variance = Fixed.nearestSpread(count, pane.words, at + 1, SUM_WORDS, squared, squares.words(), -2 * UNIT)
                    / count
                    / divisor;
        } else {
            BigDecimal sum = units(Fixed.number(pane.words, at + 1, SUM_WORDS), UNIT).add(others);
            BigDecimal spread =
                    squares.sum(pane).multiply(BigDecimal.valueOf(count)).subtract(sum.multiply(sum));
            BigDecimal pairs = BigDecimal.valueOf(count).multiply(BigDecimal.valueOf(divisor));
            variance = spread.divide(pairs, MathContext.DECIMAL128).doubleValue();
        }
        boolean root = function == Function.STDDEV_SAMP || function == Function.STDDEV_POP;
        return root ? Math.sqrt(variance) : variance;
    }

    static BigDecimal units(BigInteger number, int exponent) {
        return new BigDecimal(number).divide(new BigDecimal(BigInteger.ONE.shiftLeft(exponent)));
    }

    @Override
    public String toString() {
        return "sum of DOUBLE";
    }
}
