package hopsworksflink.window;

import java.util.Arrays;

/**
 * The panes of one key in the order of time, with everything that is aggregated in them: the state of a key, and what a
 * combiner sends. Panes that hold nothing are not there.
 */
final class Panes {
    /** In place of a window: none. */
    static final long NONE = Long.MAX_VALUE;

    private final int wordsOfPane;
    private final int objectsOfPane;
    int count;
    long[] numbers;
    long[] words;
    Object[] objects;
    /** The window that a timer waits for. */
    long due = NONE;

    Panes(Layout layout) {
        this(layout.words(), layout.objects(), 1);
    }

    Panes(int wordsOfPane, int objectsOfPane, int capacity) {
        this.wordsOfPane = wordsOfPane;
        this.objectsOfPane = objectsOfPane;
        numbers = new long[capacity];
        words = new long[capacity * wordsOfPane];
        objects = new Object[capacity * objectsOfPane];
    }

    Panes(Panes other) {
        wordsOfPane = other.wordsOfPane;
        objectsOfPane = other.objectsOfPane;
        count = other.count;
        numbers = Arrays.copyOf(other.numbers, Math.max(1, count));
        words = Arrays.copyOf(other.words, numbers.length * wordsOfPane);
        // What they refer to is never changed.
        objects = Arrays.copyOf(other.objects, numbers.length * objectsOfPane);
        due = other.due;
    }

    /** Points to the pane of a number, which is added if it is not there. */
    void find(long number, Pane into) {
        boolean isNewest = count == 0 || numbers[count - 1] < number;
        int at = isNewest ? -count - 1 : Arrays.binarySearch(numbers, 0, count, number);
        if (at < 0) {
            at = -at - 1;
            insert(at, number);
        }
        get(at, into);
    }

    /** Points to a pane by its place. */
    void get(int at, Pane into) {
        into.words = words;
        into.word = at * wordsOfPane;
        into.objects = objects;
        into.object = at * objectsOfPane;
    }

    /** Removes panes from one place up to another, excluded. */
    void remove(int from, int to) {
        int left = count - to;
        System.arraycopy(numbers, to, numbers, from, left);
        System.arraycopy(words, to * wordsOfPane, words, from * wordsOfPane, left * wordsOfPane);
        System.arraycopy(objects, to * objectsOfPane, objects, from * objectsOfPane, left * objectsOfPane);
        Arrays.fill(objects, (from + left) * objectsOfPane, count * objectsOfPane, null);
        count = from + left;
    }

    void clear() {
        Arrays.fill(objects, 0, count * objectsOfPane, null);
        count = 0;
        due = NONE;
    }

    private void insert(int at, long number) {
        if (count == numbers.length) {
            int capacity = 2 * count;
            numbers = Arrays.copyOf(numbers, capacity);
            words = Arrays.copyOf(words, capacity * wordsOfPane);
            objects = Arrays.copyOf(objects, capacity * objectsOfPane);
        }
        int behind = count - at;
        System.arraycopy(numbers, at, numbers, at + 1, behind);
        System.arraycopy(words, at * wordsOfPane, words, (at + 1) * wordsOfPane, behind * wordsOfPane);
        System.arraycopy(objects, at * objectsOfPane, objects, (at + 1) * objectsOfPane, behind * objectsOfPane);
        numbers[at] = number;
        Arrays.fill(words, at * wordsOfPane, (at + 1) * wordsOfPane, 0);
        Arrays.fill(objects, at * objectsOfPane, (at + 1) * objectsOfPane, null);
        count++;
    }
}
