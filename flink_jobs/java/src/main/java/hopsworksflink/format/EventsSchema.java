package hopsworksflink.format;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.function.Function;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.metrics.Counter;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.util.Collector;

/** Decodes records; what is not exactly one record fails the job, or becomes a row with the value and the reason. */
public final class EventsSchema implements DeserializationSchema<RowData> {

    /** Option with the id of a feature group, and the header that says whose row a record is. */
    public static final String GROUP_OPTION = "feature-group";

    public static final String GROUP_HEADER = "featureGroupId";

    private static final long serialVersionUID = 1L;
    private static final int SHOWN_BYTES = 32;

    private final String encoding;
    private final Column[] columns;
    private final int required;
    private final Framing framing;
    private final boolean unwrap;
    private final boolean quarantine;
    private final boolean keepsTombstones;
    private final byte[] group;
    private final TypeInformation<RowData> produced;
    private transient Decoder decoder;
    private transient Origin origin;
    private transient Counter ofOthers;
    private transient Counter undecodable;
    private transient Counter tombstones;
    private transient Counter leftOut;

    /**
     * @param required a record of plain Avro may end behind so many of the columns.
     * @param unwrap whether records are change events of Debezium.
     * @param framing what says how a record of Avro or Protobuf was written.
     * @param keepsTombstones whether a record without a value is a row of nulls, which its last column tells.
     * @param group id of the feature group whose rows are read, by the records' header; null: all records are.
     */
    public EventsSchema(
            String encoding,
            Column[] columns,
            int required,
            Framing framing,
            boolean unwrap,
            boolean quarantine,
            boolean keepsTombstones,
            String group,
            TypeInformation<RowData> produced) {
        this.encoding = encoding;
        this.columns = columns;
        this.required = required;
        this.framing = framing;
        this.unwrap = unwrap;
        this.quarantine = quarantine;
        this.keepsTombstones = keepsTombstones;
        this.group = group == null ? null : group.getBytes(StandardCharsets.UTF_8);
        this.produced = produced;
    }

    @Override
    public void open(InitializationContext context) {
        boolean json = encoding.equals(EventsFormatFactory.JSON);
        Function<Column[], Decoder> decoders =
                wanted -> json ? new JsonDecoder(wanted, unwrap) : framing.decoder(wanted, required, unwrap);
        decoder = unwrap ? new Unwrapping(columns, decoders) : decoders.apply(columns);
        origin = new Origin();
        ofOthers = context.getMetricGroup().counter("rowsOfOtherGroups");
        leftOut = context.getMetricGroup().counter("changesLeftOut");
        tombstones = context.getMetricGroup().counter("tombstones");
        undecodable = context.getMetricGroup().counter("undecodableRecords");
    }

    @Override
    public void deserialize(byte[] value, Collector<RowData> out) throws IOException {
        if (group != null && !Arrays.equals(group, origin.header(out, GROUP_HEADER))) {
            ofOthers.inc();
            return;
        }
        if (value == null) {
            tombstones.inc();
            if (keepsTombstones) {
                out.collect(row(true));
            }
            return; // else no event
        }
        GenericRowData row = row(false);
        try {
            if (!decoder.decode(value, row)) {
                leftOut.inc();
                return;
            }
        } catch (Undecodable problem) {
            undecodable.inc();
            if (!quarantine) {
                throw new IOException(origin.place(out) + problem.getMessage() + "; value " + excerpt(value));
            }
            row = new GenericRowData(columns.length + 2);
            row.setField(columns.length, value);
            row.setField(columns.length + 1, StringData.fromString(problem.getMessage()));
        }
        out.collect(row);
    }

    /** An empty row, with the columns that are this format's own. */
    private GenericRowData row(boolean isTombstone) {
        GenericRowData row = new GenericRowData(columns.length + (quarantine ? 2 : keepsTombstones ? 1 : 0));
        if (keepsTombstones) {
            row.setField(columns.length, isTombstone);
        }
        return row;
    }

    @Override
    public RowData deserialize(byte[] value) {
        throw new UnsupportedOperationException("a source calls deserialize(byte[], Collector)");
    }

    private static String excerpt(byte[] value) {
        int shown = Math.min(value.length, SHOWN_BYTES);
        String more = value.length > shown ? " … " : " ";
        return HexFormat.ofDelimiter(" ").formatHex(value, 0, shown) + more + "(" + value.length + " bytes)";
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
