package quarantine;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.metrics.Counter;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.util.Collector;

/** Decodes with another schema; a value that it cannot decode becomes a row with the value and the reason. */
final class QuarantineSchema implements DeserializationSchema<RowData> {

    private static final long serialVersionUID = 1L;
    private static final int LONGEST_REASON = 500;

    private final DeserializationSchema<RowData> decoding;
    private final TypeInformation<RowData> produced;
    private final int columns;
    private transient List<RowData> decoded;
    private transient Collector<RowData> into;
    private transient Counter undecodable;

    /**
     * @param columns how many columns the other schema makes.
     */
    QuarantineSchema(DeserializationSchema<RowData> decoding, TypeInformation<RowData> produced, int columns) {
        this.decoding = decoding;
        this.produced = produced;
        this.columns = columns;
    }

    @Override
    public void open(InitializationContext context) throws Exception {
        decoding.open(context);
        decoded = new ArrayList<>(1);
        into = new ListCollector<>(decoded);
        undecodable = context.getMetricGroup().counter("undecodableRecords");
    }

    @Override
    public void deserialize(byte[] value, Collector<RowData> out) {
        // What the job does with a row is not this format's business: only decoding is guarded.
        decoded.clear();
        try {
            decoding.deserialize(value, into);
        } catch (Exception | OutOfMemoryError error) {
            // Out of memory: broken bytes that claim a length for which there is no room.
            undecodable.inc();
            out.collect(refused(value, error));
            return;
        }
        for (RowData row : decoded) {
            out.collect(widened((GenericRowData) row));
        }
    }

    @Override
    public RowData deserialize(byte[] value) {
        throw new UnsupportedOperationException("a source calls deserialize(byte[], Collector)");
    }

    private RowData widened(GenericRowData row) {
        GenericRowData wide = new GenericRowData(row.getRowKind(), columns + 2);
        for (int column = 0; column < columns; column++) {
            wide.setField(column, row.getField(column));
        }
        return wide;
    }

    private RowData refused(byte[] value, Throwable error) {
        GenericRowData row = new GenericRowData(columns + 2);
        row.setField(columns, value);
        row.setField(columns + 1, StringData.fromString(reason(error)));
        return row;
    }

    /** What the innermost cause says, in one line. */
    private static String reason(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null && cause.getCause() != cause) {
            cause = cause.getCause();
        }
        String message = cause.getMessage() == null ? "" : ": " + cause.getMessage().lines().findFirst().orElse("");
        String text = cause.getClass().getSimpleName() + message;
        return text.length() <= LONGEST_REASON ? text : text.substring(0, LONGEST_REASON - 1) + "…";
    }

    @Override
    public boolean isEndOfStream(RowData row) {
        return false;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return produced;
    }
}
