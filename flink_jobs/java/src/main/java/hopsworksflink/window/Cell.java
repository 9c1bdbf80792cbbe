package hopsworksflink.window;

import java.io.Serializable;
import java.util.Arrays;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.table.data.RowData;

/**
 * What is kept of one column in each pane: so many 64-bit words, zero where no value has come, and objects, which are
 * null there and are replaced, never changed.
 */
abstract class Cell implements Serializable {
    private static final long serialVersionUID = 1L;

    /** Place of its first word and object in a pane. */
    int word;
    int object;

    abstract int words();

    /** Serializers of its objects. */
    TypeSerializer<?>[] objects() {
        return new TypeSerializer<?>[0];
    }

    void clear(Pane pane) {
        Arrays.fill(pane.words, pane.word + word, pane.word + word + words(), 0);
        for (int index = objects().length - 1; index >= 0; index--) {
            pane.set(object + index, null);
        }
    }

    /** Add an event. */
    abstract void add(RowData event, Pane pane);

    /** Add everything of one pane to another one. The order in which that happens does not change a result. */
    abstract void merge(Pane from, Pane into);

    /**
     * Take everything of one pane out of another one that holds it. False: what is left cannot be told, and has to be
     * merged again.
     */
    abstract boolean remove(Pane from, Pane total);

    /** Flink's internal form of the value of a function over this column; null where there is none. */
    abstract Object result(Function function, Pane pane);

    /** What it is and of which type, for people and to tell layouts apart. */
    @Override
    public abstract String toString();
}
