package hopsworksflink.window;

import java.util.Arrays;

/** Where the numbers and objects of one pane lie. */
final class Pane {
    long[] words;
    int word;
    Object[] objects;
    int object;

    /** A pane by itself, empty. */
    static Pane alone(Layout layout) {
        Pane pane = new Pane();
        pane.words = new long[layout.words()];
        pane.objects = new Object[layout.objects()];
        return pane;
    }

    void clear() {
        Arrays.fill(words, 0);
        Arrays.fill(objects, null);
    }
}
