package hopsworksflink.window;

/** Points to the numbers and objects of one pane, or of a total, among those of a key. */
final class Pane {
    long[] words;
    int word;
    private Panes panes;
    private int object;

    /** Points to a place: its first word, and the one of its objects. */
    void point(Panes to, int firstWord, int firstObject) {
        panes = to;
        words = to.words();
        word = firstWord;
        object = firstObject;
    }

    /** An object, which is never changed; null: there is none. */
    Object object(int index) {
        return panes.object(object + index);
    }

    void set(int index, Object value) {
        panes.set(object + index, value);
    }
}
