package hopsworksflink.window;

import java.io.Serializable;

/**
 * How panes make windows. Panes and windows are aligned to the epoch; a pane is known by its number, a window by the
 * number of its last pane.
 *
 * @param pane length of a pane in milliseconds.
 * @param panes panes of a whole window; 1 for windows that tumble.
 * @param growing whether a window is emitted at the end of each of its panes, over the panes up to there.
 */
record Shape(long pane, int panes, boolean growing) implements Serializable {
    /** The pane of an event. */
    long paneOf(long time) {
        return Math.floorDiv(time, pane);
    }

    /** The first window that a watermark leaves open: the ones before have been emitted. */
    long firstOpen(long watermark) {
        return watermark == Long.MAX_VALUE ? Long.MAX_VALUE : Math.floorDiv(watermark + 1, pane);
    }

    /** The last window that holds a pane. */
    long lastWindow(long number) {
        return (growing ? number - Math.floorMod(number, panes) : number) + panes - 1;
    }

    /** The first pane of a window. */
    long firstPane(long window) {
        return growing ? window - Math.floorMod(window, panes) : window - panes + 1;
    }

    /** The first pane of a window when it has its full length. */
    long start(long window) {
        return firstPane(window) * pane;
    }

    /** The end of a window, excluded. */
    long end(long window) {
        return (window + 1) * pane;
    }

    /** For people, and to tell shapes apart. */
    @Override
    public String toString() {
        return "windows " + (growing ? "growing to " : "of ") + panes + " x " + pane + " ms";
    }
}
