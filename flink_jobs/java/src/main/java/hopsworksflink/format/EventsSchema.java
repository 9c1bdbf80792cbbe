package hopsworksflink.format;

import java.io.IOException;
import java.lang.reflect.Field;
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

    private static final long serialVersionUID = 1L;
    private static final int SHOWN_BYTES = 32;

    private final String encoding;
    private final Column[] columns;
    private final int required;
    private final Framing framing;
    private final boolean unwrap;
    private final boolean quarantine;
    private final boolean keepsTombstones;
    private final TypeInformation<RowData> produced;
    private transient Decoder decoder;
    private transient Counter undecodable;
    private transient Counter tombstones;
    private transient Counter leftOut;

    /**
     * @param required a record of plain Avro may end behind so many of the columns.
     * @param unwrap whether records are change events of Debezium.
     * @param framing what says how a record of Avro or Protobuf was written.
     * @param keepsTombstones whether a record without a value is a row of nulls, which its last column tells.
     */
    public EventsSchema(
            String encoding,
            Column[] columns,
            int required,
            Framing framing,
            boolean unwrap,
            boolean quarantine,
            boolean keepsTombstones,
            TypeInformation<RowData> produced) {
        this.encoding = encoding;
        this.columns = columns;
        this.required = required;
        this.framing = framing;
        this.unwrap = unwrap;
        this.quarantine = quarantine;
        this.keepsTombstones = keepsTombstones;
        this.produced = produced;
    }

    @Override
    public void open(InitializationContext context) {
        boolean json = encoding.equals(EventsFormatFactory.JSON);
        Function<Column[], Decoder> decoders =
                wanted -> json ? new JsonDecoder(wanted, unwrap) : framing.decoder(wanted, required, unwrap);
        decoder = unwrap ? new Unwrapping(columns, decoders) : decoders.apply(columns);
        leftOut = context.getMetricGroup().counter("changesLeftOut");
        tombstones = context.getMetricGroup().counter("tombstones");
        undecodable = context.getMetricGroup().counter("undecodableRecords");
    }

    @Override
    public void deserialize(byte[] value, Collector<RowData> out) throws IOException {
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
                throw new IOException(place(out) + problem.getMessage() + "; value " + excerpt(value));
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

    /** Where the record lies: a format is not told, but the Kafka connector's collector holds the record. */
    private static String place(Collector<RowData> out) {
        for (Field field : out.getClass().getDeclaredFields()) {
            if (field.getType().getSimpleName().equals("ConsumerRecord")) {
                try {
                    field.setAccessible(true);
                    Object record = field.get(out);
                    StringBuilder text = new StringBuilder();
                    for (String part : new String[] {"topic", "partition", "offset"}) {
                        Object found = record.getClass().getMethod(part).invoke(record);
                        text.append(text.length() == 0 ? "" : ", ").append(part).append(' ').append(found);
                    }
                    return text + ": ";
                } catch (ReflectiveOperationException | RuntimeException otherwise) {
                    return ""; // another connector: the reason alone has to do
                }
            }
        }
        return "";
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
