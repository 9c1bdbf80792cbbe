package hopsworksflink.window;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.base.BigDecSerializer;
import org.apache.flink.table.data.RowData;

/**
 * Sum of doubles, and of their squares: exact, so that neither the order of events nor the way in which they were
 * combined changes a bit of a result, and equal numbers have no deviation.
 *
 * <p>Sums are whole numbers of units of 2^-80, sums of squares of 2^-160. A number below 2^62 without digits below
 * 2^-80 fits: prices, distances, rates down to 1e-8 with all their digits. Others are added as {@link BigDecimal},
 * which is as exact, and slow.
 */
final class Moments extends Cell {
    private static final long serialVersionUID = 1L;

    private static final int UNIT = 80;
    private static final int LARGEST = 62;
    private static final int SUM_WORDS = 3;
    private static final int SQUARE_WORDS = 5;

    private final int column;
    private final boolean squares;

    /** @param squares whether there is a deviation among the functions. */
    Moments(int column, boolean squares) {
        this.column = column;
        this.squares = squares;
    }

    /** The number of values, the sum, and the sum of squares. */
    @Override
    int words() {
        return 1 + SUM_WORDS + (squares ? SQUARE_WORDS : 0);
    }

    /** Sums of the numbers that do not fit. */
    @Override
    TypeSerializer<?>[] objects() {
        TypeSerializer<?> exact = BigDecSerializer.INSTANCE;
        return squares ? new TypeSerializer<?>[] {exact, exact} : new TypeSerializer<?>[] {exact};
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
        if (squares) {
            long high = Math.multiplyHigh(digits, digits);
            Fixed.add(pane.words, at + 1 + SUM_WORDS, SQUARE_WORDS, digits * digits, high, 2 * (exponent + UNIT));
        }
    }

    private void addOther(BigDecimal value, Pane pane) {
        plus(pane, 0, value);
        if (squares) {
            plus(pane, 1, value.multiply(value));
        }
    }

    private void plus(Pane pane, int index, Object value) {
        int at = pane.object + object + index;
        if (value != null) {
            Object present = pane.objects[at];
            pane.objects[at] = present == null ? value : ((BigDecimal) present).add((BigDecimal) value);
        }
    }

    @Override
    void merge(Pane from, Pane into) {
        int source = from.word + word;
        int at = into.word + word;
        into.words[at] += from.words[source];
        Fixed.add(from.words, source + 1, into.words, at + 1, SUM_WORDS);
        plus(into, 0, from.objects[from.object + object]);
        if (squares) {
            Fixed.add(from.words, source + 1 + SUM_WORDS, into.words, at + 1 + SUM_WORDS, SQUARE_WORDS);
            plus(into, 1, from.objects[from.object + object + 1]);
        }
    }

    @Override
    Object result(Function function, Pane pane) {
        int at = pane.word + word;
        long count = pane.words[at];
        boolean sample = function == Function.STDDEV_SAMP || function == Function.VAR_SAMP;
        if (count == 0 || sample && count == 1) {
            return null;
        }
        int squared = at + 1 + SUM_WORDS;
        BigDecimal others = (BigDecimal) pane.objects[pane.object + object];
        if (!function.isDeviation()) {
            double sum = others == null
                    ? Fixed.nearest(pane.words, at + 1, SUM_WORDS, -UNIT)
                    : units(Fixed.number(pane.words, at + 1, SUM_WORDS), UNIT).add(others).doubleValue();
            return function == Function.AVG ? sum / count : sum;
        }
        long divisor = sample ? count - 1 : count;
        double variance;
        if (others == null) {
            variance = Fixed.nearestSpread(count, pane.words, at + 1, SUM_WORDS, squared, SQUARE_WORDS, -2 * UNIT)
                    / count
                    / divisor;
        } else {
            BigDecimal sum = units(Fixed.number(pane.words, at + 1, SUM_WORDS), UNIT).add(others);
            BigDecimal squares = units(Fixed.number(pane.words, squared, SQUARE_WORDS), 2 * UNIT)
                    .add((BigDecimal) pane.objects[pane.object + object + 1]);
            BigDecimal spread = squares.multiply(BigDecimal.valueOf(count)).subtract(sum.multiply(sum));
            BigDecimal pairs = BigDecimal.valueOf(count).multiply(BigDecimal.valueOf(divisor));
            variance = spread.divide(pairs, MathContext.DECIMAL128).doubleValue();
        }
        boolean root = function == Function.STDDEV_SAMP || function == Function.STDDEV_POP;
        return root ? Math.sqrt(variance) : variance;
    }

    private static BigDecimal units(BigInteger number, int exponent) {
        return new BigDecimal(number).divide(new BigDecimal(BigInteger.ONE.shiftLeft(exponent)));
    }

    @Override
    public String toString() {
        return squares ? "moments" : "sum of DOUBLE";
    }
}
