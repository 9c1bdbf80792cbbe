package hopsworksflink.window;

import java.math.BigDecimal;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.base.BigDecSerializer;
import org.apache.flink.table.data.RowData;

/** Sum of the squares of doubles, as exact as their sum: by itself, for what an older job kept may lack it. */
final class Squares extends Cell {
    private static final long serialVersionUID = 1L;

    @Override
    int words() {
        return 5;
    }

    /** Sum of the squares of numbers that do not fit. */
    @Override
    TypeSerializer<?>[] objects() {
        return new TypeSerializer<?>[] {BigDecSerializer.INSTANCE};
    }

    /** {@link Moments} does it, which has taken the number apart. */
    @Override
    void add(RowData event, Pane pane) {}

    /** Add the square of a number without sign, times two to the power of a shift. */
    void add(long digits, int shift, Pane pane) {
        Fixed.add(pane.words, pane.word + word, words(), digits * digits, Math.multiplyHigh(digits, digits), shift);
    }

    @Override
    void merge(Pane from, Pane into) {
        Fixed.add(from.words, from.word + word, into.words, into.word + word, words());
        Moments.plus(into, object, from.object(object));
    }

    @Override
    boolean remove(Pane from, Pane total) {
        if (from.object(object) != null) {
            return false;
        }
        Fixed.subtract(from.words, from.word + word, total.words, total.word + word, words());
        return true;
    }

    BigDecimal sum(Pane pane) {
        return Moments.units(Fixed.number(pane.words, pane.word + word, words()), 2 * Moments.UNIT)
                .add((BigDecimal) pane.object(object));
    }

    @Override
    Object result(Function function, Pane pane) {
        throw new IllegalStateException("no function is of squares alone");
    }

    @Override
    public String toString() {
        return "squares of DOUBLE";
    }
}
