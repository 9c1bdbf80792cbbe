package hopsworksflink.window;

import java.util.Arrays;

/**
 * The panes of one key in the order of time, with everything that is aggregated in them: the state of a key, and what a
 * combiner sends. Panes that hold nothing are not there.
 */
final class Panes {
    /** In place of a window: none. */
    static final long NONE = Long.MAX_VALUE;

    final Form form;
    private final int wordsOfPane;
    private final int objectsOfPane;
    /** Place of the first pane: panes leave in front. */
    private int begin;

    int count;
    private long[] numbers;
    private long[] words;
    private Object[] objects;
    /** The window that is emitted next. */
    long due = NONE;
    /**
     * For each length that is aggregated, everything before the last pane of that window, as far as it is so near;
     * null: nothing is.
     */
    final Pane[] totals;
    /** For each part of the form the last pane in which it is not known; null: all is known. Replaced, never changed. */
    long[] unknown;

    Panes(Form form) {
        this(form, 1);
    }

    Panes(Form form, int capacity) {
        this.form = form;
        wordsOfPane = form.words;
        objectsOfPane = form.objects;
        numbers = new long[capacity];
        words = new long[capacity * wordsOfPane];
        objects = new Object[capacity * objectsOfPane];
        totals = new Pane[form.lengths];
    }

    Panes(Panes other) {
        form = other.form;
        wordsOfPane = other.wordsOfPane;
        objectsOfPane = other.objectsOfPane;
        count = other.count;
        int from = other.begin;
        int to = from + Math.max(1, count);
        numbers = Arrays.copyOfRange(other.numbers, from, to);
        words = Arrays.copyOfRange(other.words, from * wordsOfPane, to * wordsOfPane);
        // What they refer to is never changed.
        objects = Arrays.copyOfRange(other.objects, from * objectsOfPane, to * objectsOfPane);
        due = other.due;
        totals = other.totals.clone();
        for (int length = 0; length < totals.length; length++) {
            totals[length] = totals[length] == null ? null : totals[length].copy();
        }
        unknown = other.unknown;
    }

    /** The total of a length, to add something to it. */
    Pane total(int length) {
        if (totals[length] == null) {
            totals[length] = Pane.alone(wordsOfPane, objectsOfPane);
        }
        return totals[length];
    }

    /** Sets the last pane in which a part is not known. */
    void unknown(int part, long last) {
        long[] changed = unknown == null ? new long[form.parts.length] : unknown.clone();
        if (unknown == null) {
            Arrays.fill(changed, Long.MIN_VALUE);
        }
        changed[part] = last;
        unknown = changed;
    }

    /** Whether the window that is emitted next shares something with the one before. */
    boolean isUnderWay() {
        // Panes of windows that grow are in the total only.
        return totals[0] != null || count > 0 && number(0) < due;
    }

    boolean isEmpty() {
        return count == 0 && totals[0] == null;
    }

    /** The number of a pane by its place. */
    long number(int at) {
        return numbers[begin + at];
    }

    /** Points to a pane by its place. */
    void get(int at, Pane into) {
        into.words = words;
        into.word = (begin + at) * wordsOfPane;
        into.objects = objects;
        into.object = (begin + at) * objectsOfPane;
    }

    /** How many panes have a lower number. */
    int before(long number) {
        if (count == 0 || number(count - 1) < number) {
            return count;
        }
        if (number(0) >= number) {
            return 0;
        }
        int at = Arrays.binarySearch(numbers, begin, begin + count, number);
        return (at < 0 ? -at - 1 : at) - begin;
    }

    /** Points to the pane of a number, which is added if it is not there. */
    void find(long number, Pane into) {
        int at = before(number);
        if (at == count || number(at) != number) {
            insert(at, number);
        }
        get(at, into);
    }

    /** Adds a pane behind the others, without values. */
    void append(long number, Pane into) {
        insert(count, number);
        get(count - 1, into);
    }

    /** Removes so many panes in front. */
    void removeFirst(int number) {
        Arrays.fill(objects, begin * objectsOfPane, (begin + number) * objectsOfPane, null);
        begin += number;
        count -= number;
    }

    void clear() {
        removeFirst(count);
        begin = 0;
    }

    private void insert(int at, long number) {
        if (begin + count == numbers.length) {
            // Room in front is used again where it is worth the move.
            move(2 * begin > count ? numbers.length : 2 * numbers.length);
        }
        int to = begin + at;
        int behind = count - at;
        System.arraycopy(numbers, to, numbers, to + 1, behind);
        System.arraycopy(words, to * wordsOfPane, words, (to + 1) * wordsOfPane, behind * wordsOfPane);
        System.arraycopy(objects, to * objectsOfPane, objects, (to + 1) * objectsOfPane, behind * objectsOfPane);
        numbers[to] = number;
        Arrays.fill(words, to * wordsOfPane, (to + 1) * wordsOfPane, 0);
        Arrays.fill(objects, to * objectsOfPane, (to + 1) * objectsOfPane, null);
        count++;
    }

    /** Into arrays for so many panes. */
    private void move(int capacity) {
        numbers = Arrays.copyOfRange(numbers, begin, begin + capacity);
        words = Arrays.copyOfRange(words, begin * wordsOfPane, (begin + capacity) * wordsOfPane);
        objects = Arrays.copyOfRange(objects, begin * objectsOfPane, (begin + capacity) * objectsOfPane);
        begin = 0;
    }
}
