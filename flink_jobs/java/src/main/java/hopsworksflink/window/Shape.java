package hopsworksflink.window;

import java.io.Serializable;

/**
 * How panes make windows. Panes and windows are aligned to the epoch; a pane is known by its number, a window by the
 * number of its last pane.
 *
 * @param pane length of a pane in milliseconds.
 * @param panes panes of a whole window; 1 for windows that tumble. Aggregates may look back by fewer of them.
 * @param emit at which panes windows end.
 */
record Shape(long pane, long panes, Emit emit) implements Serializable {
    /** When a window is emitted. */
    enum Emit {
        /** At each pane, over so many panes. */
        SLIDE,
        /** At each pane, over those since the window began to grow. */
        STEP,
        /** At each pane with events, for each of them: a row for each event, over those before it. */
        EVENT
    }

    boolean growing() {
        return emit == Emit.STEP;
    }

    boolean atEvents() {
        return emit == Emit.EVENT;
    }

    /** The pane of an event. */
    long paneOf(long time) {
        return Math.floorDiv(time, pane);
    }

    /** The first window that a watermark leaves open: the ones before have been emitted. */
    long firstOpen(long watermark) {
        return watermark == Long.MAX_VALUE ? Long.MAX_VALUE : Math.floorDiv(watermark + 1, pane);
    }

    /** The last window that an event of a pane may come for. */
    long lastWindow(long number) {
        return switch (emit) {
            case SLIDE -> number + panes - 1;
            case STEP -> number - Math.floorMod(number, panes) + panes - 1;
            case EVENT -> number;
        };
    }

    /** The first pane of a window. */
    long firstPane(long window) {
        return firstPane(window, panes);
    }

    /** The first pane of what aggregates over so many panes, all of a window at the most, look back at. */
    long firstPane(long window, long length) {
        return growing() ? window - Math.floorMod(window, panes) : window - length + 1;
    }

    /** The beginning of a window. */
    long start(long window) {
        return firstPane(window) * pane;
    }

    /** The end of a window, excluded; of one that ends with an event, the event's time. */
    long end(long window) {
        return (atEvents() ? window : window + 1) * pane;
    }

    /** For people, and to tell shapes apart. */
    @Override
    public String toString() {
        String length = panes + " x " + pane + " ms";
        return switch (emit) {
            case SLIDE -> "windows of " + length;
            case STEP -> "windows growing to " + length;
            case EVENT -> "windows of " + length + " before each event";
        };
    }
}
