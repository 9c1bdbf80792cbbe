package hopsworksflink.window;

import java.util.Arrays;

/**
 * The panes of one key in the order of time, with everything that is aggregated in them: the state of a key, and what a
 * combiner sends. Panes that hold nothing are not there.
 *
 * <p>There can be millions of keys, so one array has it all: for each length that is aggregated a total, of everything
 * before the last pane of the window that is due, as far as it is so near; then the panes, each behind its number.
 */
final class Panes {
    /** In place of a window: none. */
    static final long NONE = Long.MAX_VALUE;

    final Form form;
    /** Place of the first pane: panes leave in front. */
    private int begin;

    int count;
    private long[] words;
    /** As the words, without the numbers; null: all of them are null. */
    private Object[] objects;
    /** The window that is emitted next. */
    long due = NONE;
    /** For each part of the form the last pane in which it is not known; null: all is known. Replaced, never changed. */
    long[] unknown;

    Panes(Form form) {
        this(form, 1);
    }

    Panes(Form form, int capacity) {
        this.form = form;
        words = new long[wordOf(capacity)];
    }

    Panes(Panes other) {
        form = other.form;
        count = other.count;
        int room = Math.max(1, count);
        words = new long[wordOf(room)];
        copy(other.words, wordOf(other.begin), words, wordOf(0), count * (1 + form.words));
        if (other.objects != null) {
            // What they refer to is never changed.
            objects = new Object[objectOf(room)];
            copy(other.objects, objectOf(other.begin), objects, objectOf(0), count * form.objects);
        }
        due = other.due;
        unknown = other.unknown;
    }

    long[] words() {
        return words;
    }

    Object object(int at) {
        return objects == null ? null : objects[at];
    }

    void set(int at, Object value) {
        if (objects == null) {
            if (value == null) {
                return;
            }
            objects = new Object[objectOf(capacity())];
        }
        objects[at] = value;
    }

    /** Whether a length has a total: the first word of each form counts events. */
    boolean isTotalled(int length) {
        return words[length * form.words] != 0;
    }

    /** Points to the total of a length, which is zero without one. */
    void total(int length, Pane into) {
        into.point(this, length * form.words, length * form.objects);
    }

    /** Notes that a length has a total, which is then read. */
    void expectTotal(int length) {
        words[length * form.words] = 1;
    }

    void clearTotal(int length) {
        Arrays.fill(words, length * form.words, (length + 1) * form.words, 0);
        forget(length * form.objects, (length + 1) * form.objects);
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
        return isTotalled(0) || count > 0 && number(0) < due;
    }

    boolean isEmpty() {
        return count == 0 && !isTotalled(0);
    }

    /** The number of a pane by its place. */
    long number(int at) {
        return words[wordOf(begin + at)];
    }

    /** Points to a pane by its place. */
    void get(int at, Pane into) {
        into.point(this, wordOf(begin + at) + 1, objectOf(begin + at));
    }

    /** How many panes have a lower number. */
    int before(long number) {
        if (count == 0 || number(count - 1) < number) {
            return count;
        }
        int lower = 0;
        for (int end = count - 1; lower < end; ) {
            int middle = (lower + end) >>> 1;
            if (number(middle) < number) {
                lower = middle + 1;
            } else {
                end = middle;
            }
        }
        return lower;
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
        forget(objectOf(begin), objectOf(begin + number));
        begin += number;
        count -= number;
    }

    void clear() {
        removeFirst(count);
        begin = 0;
    }

    private void forget(int from, int to) {
        if (objects != null) {
            Arrays.fill(objects, from, to, null);
        }
    }

    private void insert(int at, long number) {
        if (wordOf(begin + count) == words.length) {
            makeRoom();
        }
        int to = wordOf(begin + at);
        System.arraycopy(words, to, words, wordOf(begin + at + 1), (count - at) * (1 + form.words));
        words[to] = number;
        Arrays.fill(words, to + 1, to + 1 + form.words, 0);
        if (objects != null) {
            int object = objectOf(begin + at);
            System.arraycopy(objects, object, objects, object + form.objects, (count - at) * form.objects);
            forget(object, object + form.objects);
        }
        count++;
    }

    /** Uses the room in front again where it is worth the move, and more of it otherwise. */
    private void makeRoom() {
        boolean isWorth = 2 * begin > count;
        int room = isWorth ? capacity() : 2 * capacity();
        long[] other = isWorth ? words : new long[wordOf(room)];
        copy(words, wordOf(begin), other, wordOf(0), count * (1 + form.words));
        words = other;
        if (objects != null) {
            Object[] others = isWorth ? objects : new Object[objectOf(room)];
            copy(objects, objectOf(begin), others, objectOf(0), count * form.objects);
            objects = others;
            forget(objectOf(count), objects.length);
        }
        begin = 0;
    }

    /** Copies the totals, which are in front, and what begins at a place to the first one behind them. */
    private static void copy(Object from, int place, Object into, int totals, int length) {
        System.arraycopy(from, 0, into, 0, totals);
        System.arraycopy(from, place, into, totals, length);
    }

    private int capacity() {
        return (words.length - wordOf(0)) / (1 + form.words);
    }

    /** Where the number of a pane is. */
    private int wordOf(int place) {
        return form.lengths * form.words + place * (1 + form.words);
    }

    private int objectOf(int place) {
        return (form.lengths + place) * form.objects;
    }
}
