package hopsworksflink.window;

/** Where the numbers and objects of one pane lie. */
final class Pane {
    long[] words;
    int word;
    Object[] objects;
    int object;

    /** A pane by itself, empty. */
    static Pane alone(int words, int objects) {
        Pane pane = new Pane();
        pane.words = new long[words];
        pane.objects = new Object[objects];
        return pane;
    }

    /** Another one with the same values, of a pane by itself. What objects refer to is never changed. */
    Pane copy() {
        Pane pane = new Pane();
        pane.words = words.clone();
        pane.objects = objects.clone();
        return pane;
    }
}
