package hopsworksflink.format;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A place in a record: a column's, or one that columns lie below. */
final class Place {

    /** Index of the column, negative if there is none. */
    int column = -1;
    /** Number of the record that had it last. */
    long seen;

    private final String path;
    private final Map<String, Place> fields = new HashMap<>();
    private final Map<Integer, Place> items = new HashMap<>();

    private Place(String path) {
        this.path = path;
    }

    /**
     * The places of the columns in a record.
     *
     * @param enveloped whether the record may be in an envelope, beside its schema.
     */
    static Place tree(Column[] columns, boolean enveloped) {
        Place root = new Place("");
        for (int index = 0; index < columns.length; index++) {
            root.to(columns[index].path()).column = index;
            if (enveloped) {
                root.to(List.of("payload")).to(columns[index].path()).column = index;
            }
        }
        return root;
    }

    private Place to(List<Object> steps) {
        Place place = this;
        for (Object step : steps) {
            String below = place.path + (step instanceof Integer ? "[" + step + "]" : "." + step);
            place =
                    step instanceof Integer number
                            ? place.items.computeIfAbsent(number, absent -> new Place(below))
                            : place.fields.computeIfAbsent((String) step, absent -> new Place(below));
        }
        return place;
    }

    Place field(String name) {
        return fields.get(name);
    }

    Place item(int index) {
        return items.get(index);
    }

    boolean isObject() {
        return !fields.isEmpty();
    }

    boolean isArray() {
        return !items.isEmpty();
    }

    /** The path as messages have it. */
    String shown() {
        return path.substring(1);
    }
}
