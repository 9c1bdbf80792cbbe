package hopsworksflink.format;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/** Decodes the change events of Debezium: of an insert or an update the row after it; other changes are left out. */
final class Unwrapping implements Decoder {

    // Create, read (of a snapshot), update; delete, truncate, message.
    private static final Set<String> TAKEN = Set.of("c", "r", "u");
    private static final Set<String> LEFT_OUT = Set.of("d", "t", "m");

    /** Stands for a value that the database did not tell of, as it had not changed and lies elsewhere. */
    private static final String UNAVAILABLE = "__debezium_unavailable_value";
    private static final StringData TEXT = StringData.fromString(UNAVAILABLE);
    private static final byte[] BYTES = UNAVAILABLE.getBytes(StandardCharsets.UTF_8);

    private final Decoder decoder;
    private final Column[] columns;
    private final int width;

    /** @param decoders makes the decoder of these columns and one more. */
    Unwrapping(Column[] columns, Function<Column[], Decoder> decoders) {
        this.columns = columns;
        width = columns.length;
        Column[] more = Arrays.copyOf(columns, width + 1);
        more[width] = new Column("__op", Column.Kind.STRING, 0, 0, List.of("op"), Times.ISO);
        decoder = decoders.apply(more);
    }

    @Override
    public boolean decode(byte[] value, GenericRowData row) throws Undecodable {
        GenericRowData event = new GenericRowData(width + 1);
        decoder.decode(value, event);
        Object operation = event.getField(width);
        if (operation == null) {
            throw new Undecodable("it is no change event of Debezium: it has no op");
        }
        String text = operation.toString();
        if (LEFT_OUT.contains(text)) {
            return false;
        }
        if (!TAKEN.contains(text)) {
            throw new Undecodable(
                    "its op is \"" + Texts.excerpt(text) + "\", which no change event of Debezium has");
        }
        for (int index = 0; index < width; index++) {
            Object field = event.getField(index);
            boolean ofRow = columns[index].path().get(0).equals("after");
            row.setField(index, ofRow && isUnavailable(field) ? null : field);
        }
        return true;
    }

    private static boolean isUnavailable(Object field) {
        return TEXT.equals(field) || field instanceof byte[] bytes && Arrays.equals(bytes, BYTES);
    }
}
