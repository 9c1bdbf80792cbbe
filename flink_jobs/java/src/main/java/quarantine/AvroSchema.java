package quarantine;

import java.io.IOException;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.avro.shaded.org.apache.avro.Schema;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericDatumReader;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericRecord;
import org.apache.flink.avro.shaded.org.apache.avro.io.BinaryDecoder;
import org.apache.flink.avro.shaded.org.apache.avro.io.DecoderFactory;
import org.apache.flink.formats.avro.AvroToRowDataConverters;
import org.apache.flink.formats.avro.typeutils.AvroSchemaConverter;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;

/**
 * Decodes Avro as Flink's own format does, each record by itself.
 *
 * <p>Flink's decoder keeps what it has read ahead: after a record that is broken, or longer than its schema, it goes on
 * in the old bytes and misreads all that follow.
 */
final class AvroSchema extends AbstractDeserializationSchema<RowData> {

    private static final long serialVersionUID = 1L;

    private final RowType type;
    private transient GenericDatumReader<GenericRecord> reader;
    private transient AvroToRowDataConverters.AvroToRowDataConverter converter;
    private transient GenericRecord reused;
    private transient BinaryDecoder decoder;

    AvroSchema(RowType type, TypeInformation<RowData> produced) {
        super(produced);
        this.type = type;
    }

    @Override
    public void open(InitializationContext context) {
        Schema schema = AvroSchemaConverter.convertToSchema(type);
        reader = new GenericDatumReader<>(schema);
        converter = AvroToRowDataConverters.createRowConverter(type);
    }

    @Override
    public RowData deserialize(byte[] value) throws IOException {
        if (value == null) {
            return null;
        }
        decoder = DecoderFactory.get().binaryDecoder(value, decoder);
        reused = reader.read(reused, decoder);
        if (!decoder.isEnd()) {
            throw new IOException("more bytes follow the record: it was written with another schema");
        }
        return (RowData) converter.convert(reused);
    }
}
