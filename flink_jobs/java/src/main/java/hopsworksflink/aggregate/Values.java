package hopsworksflink.aggregate;

import java.util.Iterator;
import java.util.Map;
import java.util.TreeMap;

/** Values of some events, sorted, and how often each one came. All are of one class, of Flink's internal ones. */
public final class Values {
    final TreeMap<Object, Long> counts = new TreeMap<>();

    /** What the function was called with beside values; 0 before its first call. */
    double setting;

    /** Whether there were more values than are kept, so that none is. */
    boolean tooMany;

    void add(Object value, long count) {
        counts.merge(value, count, Long::sum);
    }

    /** Keep none if there are more different ones. */
    void refuseBeyond(int most) {
        if (counts.size() > most) {
            tooMany = true;
        }
        if (tooMany) {
            counts.clear();
        }
    }

    /** Keep the first different ones only. */
    void keepFirst(int most) {
        while (counts.size() > most) {
            counts.pollLastEntry();
        }
    }

    /** Keep so many values, the first or the last ones, equal ones counted each. */
    void keep(long most, boolean first) {
        long kept = 0;
        Iterator<Map.Entry<Object, Long>> entries =
                (first ? counts : counts.descendingMap()).entrySet().iterator();
        while (entries.hasNext()) {
            Map.Entry<Object, Long> entry = entries.next();
            if (kept >= most) {
                entries.remove();
            } else {
                entry.setValue(Math.min(entry.getValue(), most - kept));
                kept += entry.getValue();
            }
        }
    }

    long size() {
        long size = 0;
        for (long count : counts.values()) {
            size += count;
        }
        return size;
    }
}
