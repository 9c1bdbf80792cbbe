package hopsworksflink.window;

import org.apache.flink.table.data.RowData;

/** Number of events, or of values. */
final class Counts extends Cell {
    private static final long serialVersionUID = 1L;
    static final int EVENTS = -1;

    private final int column;

    /** @param column of the values, or {@link #EVENTS}. */
    Counts(int column) {
        this.column = column;
    }

    @Override
    int words() {
        return 1;
    }

    @Override
    void add(RowData event, Pane pane) {
        if (column == EVENTS || !event.isNullAt(column)) {
            pane.words[pane.word + word]++;
        }
    }

    @Override
    void merge(Pane from, Pane into) {
        into.words[into.word + word] += of(from);
    }

    @Override
    boolean remove(Pane from, Pane total) {
        total.words[total.word + word] -= of(from);
        return true;
    }

    long of(Pane pane) {
        return pane.words[pane.word + word];
    }

    @Override
    Object result(Function function, Pane pane) {
        return of(pane);
    }

    @Override
    public String toString() {
        return column == EVENTS ? "events" : "count";
    }
}
